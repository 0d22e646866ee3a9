// A sound's loudness over time, decoded by the browser, or by the service where the browser cannot; and its picture.

import { call } from "./api.js";
import { element } from "./format.js";

const RATE = 8000; // Hz, enough to draw it
const PEAKS = 400;
const MAX_DECODED_BYTES = 60e6; // of a file that is decoded here
const MAX_SENT_BYTES = 190e6; // of one that the service decodes
const BAR = 3; // pixels from one bar to the next

// Returns { length, peaks, isDecoded }; null where nobody can decode it.
export async function readWaveform(file) {
  try {
    if (file.size > MAX_DECODED_BYTES) throw new Error("too large");
    const context = new OfflineAudioContext(1, 1, RATE);
    const buffer = await context.decodeAudioData(await file.arrayBuffer());
    return { length: buffer.duration, peaks: peaksOf(buffer), isDecoded: true };
  } catch {
    return file.size > MAX_SENT_BYTES ? null : askService(file);
  }
}

async function askService(file) {
  const form = new FormData();
  form.append("sound", file, "sound");
  try {
    const found = await call("/waveform", { method: "POST", body: form });
    return { length: found.length_s, peaks: found.peaks, isDecoded: false };
  } catch {
    return null; // sending the form shows what is really wrong
  }
}

function peaksOf(buffer) {
  const part = Math.max(1, Math.ceil(buffer.length / PEAKS));
  const peaks = new Array(Math.ceil(buffer.length / part)).fill(0);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) {
      const at = Math.floor(i / part);
      const loud = Math.abs(samples[i]);
      if (loud > peaks[at]) peaks[at] = loud;
    }
  }
  return peaks;
}

// Makes a picture of peaks that follows the size of its place.
export function drawWaveform(peaks, label) {
  const canvas = element("canvas", { className: "waveform", role: "img", "aria-label": label });
  const draw = () => paint(canvas, peaks);
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return canvas;
}

function paint(canvas, peaks) {
  const scale = devicePixelRatio;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = getComputedStyle(canvas).color;
  const bars = Math.max(1, Math.floor(width / BAR));
  const loudest = Math.max(0.05, ...peaks);
  for (let bar = 0; bar < bars; bar++) {
    const first = Math.floor((bar * peaks.length) / bars);
    const last = Math.max(first + 1, Math.floor(((bar + 1) * peaks.length) / bars));
    const tall = Math.max(2, (Math.max(...peaks.slice(first, last)) / loudest) * (height - 6));
    pen.fillRect((bar * width) / bars, (height - tall) / 2, BAR - 1, tall);
  }
}
