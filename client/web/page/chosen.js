// What both chosen files have in common: their line with name, facts and a button, and one that plays.

import { askForFile, labelOf } from "./files.js";
import { clock, element, icon, size } from "./format.js";

const PLAY = "M8 5.5v13a1 1 0 0 0 1.5.86l10.5-6.500a1 1 0 0 0 0-1.720l-10.5-6.500A1 1 0 0 0 8 5.500z";
const PAUSE = "M7 5h3.500v14H7zM13.5 5H17v14h-3.500z";

// The line below a chosen file; `line.tell(length, trim)` completes its facts.
export function makeLine(name, file) {
  const facts = element("span", {}, size(file.size));
  const change = element("button", { type: "button", className: "quiet", "aria-label": `Change the ${labelOf(name)}` }, "Change");
  change.addEventListener("click", () => askForFile(name));
  const title = element("b", { title: file.name }, file.name);
  const root = element("div", { className: "chosen-line" }, element("div", { className: "chosen-name" }, title, facts), change);
  const tell = (length, trim) => {
    const part = trim && !trim.isWhole ? ` · ${clock(trim.from)} to ${clock(trim.to)} is used` : "";
    facts.textContent = Number.isFinite(length) ? `${size(file.size)} · ${clock(length)}${part}` : size(file.size);
  };
  return { root, tell, change };
}

// A button that plays the chosen part of a video or sound.
export function makePlay(media, trim, what) {
  const button = element("button", { type: "button", className: "quiet round", "aria-label": `Play the ${what}` }, icon(PLAY));
  const draw = () => {
    button.replaceChildren(icon(media.paused ? PLAY : PAUSE));
    button.setAttribute("aria-label", `${media.paused ? "Play" : "Pause"} the ${what}`);
  };
  const step = () => {
    trim.showAt(media.currentTime);
    if (!media.paused && media.currentTime >= trim.to) media.pause();
    if (!media.paused) requestAnimationFrame(step);
  };
  button.addEventListener("click", () => {
    if (!media.paused) return media.pause();
    if (media.currentTime >= trim.to - 0.05 || media.currentTime < trim.from) media.currentTime = trim.from;
    return media.play().catch(() => {});
  });
  media.addEventListener("play", () => { draw(); requestAnimationFrame(step); });
  media.addEventListener("pause", draw);
  media.addEventListener("seeked", () => trim.showAt(media.currentTime));
  return button;
}
