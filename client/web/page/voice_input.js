// The chosen speech: its waveform, and the part of it that is used.

import { makeLine, makePlay } from "./chosen.js";
import { clock, element } from "./format.js";
import { makeTrim } from "./trim.js";
import { MAX_CUT_S, cutSound } from "./wave_file.js";
import { drawWaveform, readWaveform } from "./waveform.js";

const CANNOT = "Your browser cannot play this file. The service can probably use it.";
const place = document.getElementById("audio-chosen");
const note = document.getElementById("audio-note");
let shown = null; // { file, url, media, trim, line, length }
let changed = () => {};

export function startVoiceInput(onChange) {
  changed = onChange;
}

// Seconds of the speech that are used; null if its length is unknown.
export const usedVoice = () => (shown?.trim.length ? shown.trim.chosen : (shown?.length ?? null));

// The file to send: the chosen one, or the part of it that is used.
export const voiceToSend = () =>
  shown.trim.isWhole ? shown.file : cutSound(shown.file, shown.trim.from, shown.trim.to);

export function showVoice(file) {
  clear();
  const media = element("audio", { src: URL.createObjectURL(file), preload: "auto" });
  const line = makeLine("audio", file);
  const trim = makeTrim("speech", { hear: moved, seek: (time) => { media.currentTime = time; } });
  const wave = element("div", { className: "wave waiting" }, trim.root);
  const mine = { file, media, trim, line, length: null };
  shown = mine;
  place.replaceChildren(element("div", { className: "play-line" }, makePlay(media, trim, "speech"), wave), media, line.root);
  place.hidden = false;
  note.hidden = true;
  media.addEventListener("loadedmetadata", () => tellLength(mine, media.duration));
  media.addEventListener("error", () => mine === shown && cannot());
  readWaveform(file).then((found) => mine === shown && showWave(mine, wave, found));
}

function showWave(mine, wave, found) {
  wave.classList.remove("waiting");
  if (!found) return;
  tellLength(mine, found.length);
  const picture = drawWaveform(found.peaks, `Waveform of ${mine.file.name}, ${clock(found.length)}`);
  if (!found.isDecoded || found.length > MAX_CUT_S) {
    wave.replaceChildren(picture); // it cannot be cut here
    return;
  }
  mine.trim.setLength(found.length);
  mine.trim.back.replaceChildren(picture);
}

function tellLength(mine, length) {
  if (mine !== shown || !Number.isFinite(length)) return;
  mine.length = length;
  mine.line.tell(length, mine.trim);
  changed();
}

function moved(trim, side) {
  if (Number.isFinite(shown.media.duration)) shown.media.currentTime = trim[side];
  shown.line.tell(trim.length, trim);
  changed();
}

function cannot() {
  place.querySelector(".play-line button")?.remove();
  note.textContent = CANNOT;
  note.hidden = false;
}

function clear() {
  if (!shown) return;
  shown.media.pause();
  URL.revokeObjectURL(shown.media.src);
  shown = null;
}
