// Moments, lanes and the button of the answer move the answer's video; the video moves the playhead.
(() => {
  let until = null;
  const video = () => document.querySelector("#stvg-video video");

  const play = (from, to) => {
    const element = video();
    if (!element) return;
    until = to;
    element.currentTime = from;
    element.play().catch(() => {});
    element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  };

  document.addEventListener("click", (event) => {
    // On a phone the answer is below the fold.
    if (event.target.closest("#stvg-find") && innerWidth < 800) {
      setTimeout(() => {
        document.querySelector("#stvg-status")?.scrollIntoView({ behavior: "smooth" });
      }, 300);
    }
    const button = event.target.closest("[data-seek]");
    if (button) {
      const end = button.dataset.until;
      play(Number(button.dataset.seek), end === undefined ? null : Number(end));
      return;
    }
    const lane = event.target.closest(".stvg-lane > div");
    if (lane) {
      const box = lane.getBoundingClientRect();
      const duration = Number(lane.closest("[data-duration]").dataset.duration);
      play((duration * (event.clientX - box.left)) / box.width, null);
    }
  });

  // The upload box drops what is no video for the browser (a GIF, say) without a word.
  const tell = (files) => {
    document.querySelector("#stvg-refused")?.remove();
    const wrong = [...(files ?? [])].find((file) => !file.type.startsWith("video/"));
    if (!wrong) return;
    const note = document.createElement("div");
    note.id = "stvg-refused";
    note.className = "stvg-problem";
    note.setAttribute("role", "alert");
    note.textContent = `${wrong.name} is no video for your browser (${wrong.type || "unknown type"}): convert it to mp4, please.`;
    document.querySelector("#stvg-upload").after(note);
  };
  document.addEventListener(
    "change",
    (event) => event.target.matches("#stvg-upload input[type=file]") && tell(event.target.files),
    true,
  );
  document.addEventListener(
    "drop",
    (event) => event.target.closest("#stvg-upload") && tell(event.dataTransfer?.files),
    true,
  );

  // A new video begins at the moment that was found.
  document.addEventListener(
    "loadedmetadata",
    (event) => {
      const card = document.querySelector("#stvg-card [data-start]");
      if (event.target !== video() || !card) return;
      event.target.currentTime = Number(card.dataset.start);
    },
    true,
  );

  document.addEventListener(
    "timeupdate",
    (event) => {
      const element = event.target;
      if (element !== video()) return;
      if (until !== null && element.currentTime >= until) {
        element.pause();
        until = null;
      }
      const head = document.querySelector("#stvg-timeline .stvg-playhead");
      const section = document.querySelector("#stvg-timeline [data-duration]");
      if (head && section) {
        head.style.left = `${Math.min(100, (100 * element.currentTime) / Number(section.dataset.duration))}%`;
      }
    },
    true, // Media events do not bubble.
  );
})();
