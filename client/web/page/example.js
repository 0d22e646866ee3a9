// The example to try: its before and after in the header, and a button that makes it.

import { call, fetchBlob } from "./api.js";
import { choose } from "./files.js";
import { announce } from "./format.js";

const AGAIN_MS = 4000; // while the service makes it
const MAX_TRIES = 60;
const button = document.getElementById("try-example");
const loop = document.getElementById("loop");

export async function startExample(tries = MAX_TRIES) {
  let example = null;
  try {
    example = await call("/example");
  } catch {
    // asked again below
  }
  if (example?.video && example.audio && button.hidden) offer(example);
  if (example?.loop) return showLoop(example.loop);
  return tries > 0 && setTimeout(() => startExample(tries - 1), AGAIN_MS);
}

function offer(example) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const [video, audio] = await Promise.all([fetchBlob(example.video), fetchBlob(example.audio)]);
      choose("video", new File([video], example.video_name, { type: "image/jpeg" }));
      choose("audio", new File([audio], example.audio_name, { type: "audio/ogg" }));
      document.getElementById("new").requestSubmit();
    } catch (problem) {
      announce(problem.text ?? problem.title);
    } finally {
      button.disabled = false;
    }
  });
}

function showLoop(path) {
  const video = document.getElementById("loop-video");
  const pause = document.getElementById("loop-button");
  const draw = () => { pause.textContent = video.paused ? "Play" : "Pause"; };
  video.src = path;
  loop.hidden = false;
  video.addEventListener("play", draw);
  video.addEventListener("pause", draw);
  pause.addEventListener("click", () => (video.paused ? video.play().catch(() => {}) : video.pause()));
  pause.setAttribute("aria-label", "Pause or play the example");
  draw();
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) video.play().catch(() => {});
}
