// Moments, lanes and the button of the answer move the answer's video; the video moves the playhead.
// The moment that was found is played again and again, until the visitor takes the video elsewhere.
(() => {
  let until = null;
  let looping = false;
  const video = () => document.querySelector("#stvg-video video");
  // Of a video of which a part was looked at, that part is shown: it begins at this second.
  const begin = () => Number(document.querySelector("#stvg-timeline [data-from]")?.dataset.from ?? 0);
  const now = () => video().currentTime + begin();
  const go = (seconds) => {
    video().currentTime = Math.max(0, seconds - begin());
  };

  const play = (from, to) => {
    const element = video();
    if (!element) return;
    looping = to !== null;
    until = to;
    go(from);
    element.play().catch(() => {});
    element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  };

  // A hidden button of the server's carries the number there.
  const pick = (number) => {
    window.stvgPicked = String(number);
    document.querySelector("#stvg-pick")?.click();
  };

  const write = (text) => {
    const field = document.querySelector("#stvg-query textarea");
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  };

  // The smallest object under a click, at the nearest moment whose boxes are known.
  const objectAt = (element, event) => {
    const list = document.querySelector("#stvg-objects [data-boxes]");
    if (!list || !element.videoWidth) return null;
    const { times, boxes } = JSON.parse(list.dataset.boxes);
    const frame = element.getBoundingClientRect();
    const scale = Math.min(frame.width / element.videoWidth, frame.height / element.videoHeight);
    const width = element.videoWidth * scale;
    const height = element.videoHeight * scale;
    const x = (1000 * (event.clientX - frame.left - (frame.width - width) / 2)) / width;
    const y = (1000 * (event.clientY - frame.top - (frame.height - height) / 2)) / height;
    let nearest = 0;
    times.forEach((time, i) => {
      const apart = (j) => Math.abs(times[j] - now());
      if (apart(i) < apart(nearest)) nearest = i;
    });
    const hits = Object.entries(boxes)
      .map(([number, row]) => [number, row[nearest]])
      .filter(([, box]) => box && x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3])
      .sort(([, a], [, b]) => (a[2] - a[0]) * (a[3] - a[1]) - (b[2] - b[0]) * (b[3] - b[1]));
    return hits.length ? hits[0][0] : null;
  };

  document.addEventListener("click", (event) => {
    // On a phone the answer is below the fold.
    if (event.target.closest("#stvg-find, #stvg-track") && innerWidth < 800) {
      setTimeout(() => {
        document.querySelector("#stvg-status")?.scrollIntoView({ behavior: "smooth" });
      }, 300);
    }
    const chosen = event.target.closest("[data-pick]");
    if (chosen) {
      pick(chosen.dataset.pick);
      return;
    }
    const asked = event.target.closest("[data-ask]");
    if (asked) {
      write(asked.dataset.ask);
      return;
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
      play(begin() + (duration * (event.clientX - box.left)) / box.width, null);
    }
  });

  // One click pauses, as in every player; two make the object under them the answer.
  document.addEventListener("dblclick", (event) => {
    if (event.target !== video() || !document.querySelector("#stvg-card [data-found]")) return;
    const number = objectAt(event.target, event);
    if (number !== null) pick(number);
  });

  // A handle of the part shows its moment.
  document.addEventListener("input", (event) => {
    const upload = document.querySelector("#stvg-upload video");
    if (upload && event.target.closest("#stvg-part")) upload.currentTime = Number(event.target.value);
  });

  // The handles reach to the end of this video. Where they were set for it, as a link does, they
  // stay (up to a rest of less than a step); else they take all of it.
  window.stvgFitHandles = (length, start, end, partOf) => {
    const [path, seconds] = JSON.parse(length);
    const maximum = Math.max(0.1, Math.ceil(10 * seconds) / 10);
    const own = partOf === path;
    const handle = (value) => ({ __type__: "update", maximum, value });
    return [handle(own ? start : 0), handle(own && seconds - end >= 0.1 ? end : maximum), path];
  };

  // What was asked in this browser: in its own storage, and nowhere else.
  const STORE = "stvg-asked";
  const asked = () => {
    try {
      return JSON.parse(localStorage.getItem(STORE) ?? "[]");
    } catch {
      return [];
    }
  };
  const list = () => {
    const section = document.querySelector("#stvg-history");
    if (!section) return;
    const entries = asked();
    section.hidden = entries.length === 0;
    section.querySelector("ul").replaceChildren(
      ...entries.map(({ visit, text, time }) => {
        const link = document.createElement("a");
        link.href = `?visit=${visit}`;
        link.textContent = text.replaceAll("\n", " / ") || "only the objects";
        const item = document.createElement("li");
        item.append(link, ` ${new Date(time).toLocaleTimeString()}`);
        return item;
      }),
    );
  };
  window.stvgRemember = (visit, text) => {
    if (!/^[0-9a-f]{32}$/.test(visit)) return;
    const address = new URL(location.href);
    if (address.searchParams.get("visit") !== visit) {
      address.searchParams.set("visit", visit);
      history.pushState(null, "", address);
    }
    const day = Date.now() - 24 * 3600 * 1000;
    const others = asked().filter((one) => one.visit !== visit && one.time > day);
    const entries = [{ visit, text, time: Date.now() }, ...others].slice(0, 20);
    try {
      localStorage.setItem(STORE, JSON.stringify(entries));
    } catch {
      // A browser that keeps nothing has no history.
    }
    list();
  };
  addEventListener("popstate", () => location.reload());
  // The page is built by a script, so its parts come later than this one.
  const waiting = setInterval(() => {
    if (!document.querySelector("#stvg-history ul")) return;
    clearInterval(waiting);
    list();
    // Said by its own text; the label that gradio gives it says less than is to be read there.
    document.querySelector("#stvg-upload button[aria-dropeffect]")?.removeAttribute("aria-label");
  }, 200);

  // A sentence below the upload, in place of the last one.
  const say = (text, look, role) => {
    document.querySelector("#stvg-refused")?.remove();
    if (!text) return;
    const note = document.createElement("div");
    note.id = "stvg-refused";
    note.className = look;
    note.setAttribute("role", role);
    note.textContent = text;
    document.querySelector("#stvg-upload").after(note);
  };

  // The upload box drops what is no video for the browser (a GIF, say) without a word.
  const tell = (files) => {
    const wrong = [...(files ?? [])].find((file) => !file.type.startsWith("video/"));
    const type = wrong?.type || "unknown type";
    const sentence = `${wrong?.name} is no video for your browser (${type}): convert it to mp4, please.`;
    say(wrong && sentence, "stvg-problem", "alert");
  };

  document.addEventListener(
    "click",
    (event) => event.target.closest("#stvg-upload [aria-label='Clear']") && say(""),
    true, // Afterwards the button is gone.
  );

  // What the browser cannot play is not refused, though gradio would call it an error.
  document.addEventListener(
    "error",
    (event) => {
      if (!event.target.matches?.("#stvg-upload video")) return;
      event.stopImmediatePropagation();
      const sentence = "Your browser cannot play this video here. It can be asked about all the same.";
      say(sentence, "stvg-note", "status");
    },
    true,
  );
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

  // A new video begins at the moment that was found, and stays in it; who wants less motion sees
  // one frame of it.
  document.addEventListener(
    "loadedmetadata",
    (event) => {
      if (event.target.closest("#stvg-upload")) say("");
      if (event.target !== video()) return;
      const card = document.querySelector("#stvg-card [data-start]");
      looping = Boolean(card);
      until = card ? Number(card.dataset.end) : null;
      if (!card) return;
      const start = Number(card.dataset.start);
      go(start);
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
        looping = false;
        until = null;
        go((start + Number(card.dataset.end)) / 2);
        event.target.addEventListener("play", () => event.target.pause(), { once: true });
      }
    },
    true,
  );

  const stay = () => {
    const start = Number(document.querySelector("#stvg-card [data-start]")?.dataset.start ?? 0);
    if (looping && (now() > until + 0.5 || now() < start - 0.5)) {
      looping = false; // The visitor has gone elsewhere.
    } else if (looping && now() >= until - 0.05) {
      go(start);
      video().play().catch(() => {});
    }
  };

  // The browser tells the time a few times a second; by then frames without the answer were shown.
  let watching = false;
  const watch = () => {
    watching = video()?.paused === false;
    if (!watching) return;
    stay();
    requestAnimationFrame(watch);
  };
  document.addEventListener("playing", () => watching || watch(), true);

  document.addEventListener(
    "timeupdate",
    (event) => {
      const element = event.target;
      if (element !== video()) return;
      stay();
      const head = document.querySelector("#stvg-timeline .stvg-playhead");
      const section = document.querySelector("#stvg-timeline [data-duration]");
      if (head && section) {
        head.style.left = `${Math.min(100, (100 * element.currentTime) / Number(section.dataset.duration))}%`;
      }
    },
    true, // Media events do not bubble.
  );

  // Played to the end, the video comes to rest where the answer is.
  document.addEventListener(
    "ended",
    (event) => {
      const card = document.querySelector("#stvg-card [data-start]");
      if (event.target !== video() || !card) return;
      const { start, end } = card.dataset;
      if (looping) play(Number(start), Number(end));
      else go((Number(start) + Number(end)) / 2);
    },
    true,
  );
})();
