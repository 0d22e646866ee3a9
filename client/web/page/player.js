// Plays a result and its original in step, to be compared.

import { Controls } from "./controls.js";
import { Follower } from "./follower.js";
import { element } from "./format.js";
import { cannot, loadOriginal } from "./original.js";
import { qualityOf } from "./quality.js";
import { Stage } from "./stage.js";

// Opens a player in a place, at a time in seconds; returns what closes it.
export function openPlayer(place, job, { at = 0, isPlaying = false } = {}) {
  const result = element("video", { src: job.links.result, preload: "auto", playsinline: true, "aria-label": "Result" });
  const source = element("div");
  const stage = new Stage(result, source);
  const player = element("div", { className: "player", tabindex: 0, role: "group", "aria-label": "Player" });
  const controls = new Controls(result, stage, job, player);
  const quality = qualityOf(job, result);
  player.append(stage.root, controls.root, ...(quality ? [quality.place] : []), controls.help);
  if (quality) controls.root.firstChild.after(quality.tracks);
  player.addEventListener("keydown", (event) => controls.press(event));
  place.replaceChildren(player);
  stage.fit(job.report?.width, job.report?.height);
  const fail = () => result.replaceWith(cannot("Your browser cannot play this result. Download it to watch it."));
  result.addEventListener("error", fail);
  if (at) result.addEventListener("loadedmetadata", () => (result.currentTime = at), { once: true });
  if (isPlaying) result.play().catch(() => {});
  result.addEventListener("loadedmetadata", () => (result.videoWidth ? stage.fit(result.videoWidth, result.videoHeight) : fail()));
  const follower = new Follower(job.source, result);
  loadOriginal(job, source, follower);
  let isOpen = true;
  const step = () => {
    if (!isOpen) return;
    controls.show();
    follower.step();
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
  return () => {
    isOpen = false;
    for (const video of place.querySelectorAll("video")) {
      video.pause();
      video.removeAttribute("src");
      video.load();
    }
  };
}
