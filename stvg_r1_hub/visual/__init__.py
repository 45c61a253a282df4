"""What people look at: answers drawn on videos, strips of frames, timelines."""
