// The lines above the button: what will be made, how long it takes, and who is ahead.

import { call } from "./api.js";
import { fileOf } from "./files.js";
import { clock, duration, element, short } from "./format.js";
import { chosenModel, refreshModels, secondsFor, tellTimes } from "./models.js";
import { isScene, sceneFiles } from "./speakers.js";
import { usedVoice } from "./voice_input.js";

const EVERY_MS = 15000;
const place = document.getElementById("summary");
let queue = null; // { ahead, wait_s }
let shown = "";

export function startSummary() {
  showSummary();
  askQueue();
  setInterval(() => document.hidden || askQueue(), EVERY_MS);
}

// Asks again how busy the service is, such as after a job has begun or ended.
export async function askQueue({ isEnded = false } = {}) {
  try {
    queue = await call("/queue");
  } catch {
    queue = null;
  }
  if (isEnded) await refreshModels();
  showSummary();
}

export function showSummary() {
  const isReady = fileOf("video") && (isScene() || fileOf("audio"));
  tellTimes(isScene() ? null : usedVoice());
  const lines = [what(), ...(isReady ? [isScene() ? "" : takes(), ahead()] : [])].filter(Boolean);
  const text = lines.join("\n");
  if (text === shown) return;
  shown = text;
  place.replaceChildren(...lines.map((line) => element("p", {}, line)));
}

function what() {
  const video = fileOf("video");
  if (isScene()) return scene(video);
  const audio = fileOf("audio");
  if (!video && !audio) return "Add a video and a speech to see what will be made.";
  if (!audio) return "Add a speech: what the person should say.";
  if (!video) return "Add a video or a photo of the person.";
  const length = usedVoice();
  const made = length ? `A video of ${clock(length)}` : "A video";
  const model = chosenModel();
  return `${made}: ${short(video.name)} says ${short(audio.name)}${model ? `, by ${model.title}` : ""}.`;
}

function scene(video) {
  const count = sceneFiles().length;
  if (!video) return "Add a video of the people.";
  if (!count) return "Add the voice of each speaker.";
  const model = chosenModel();
  return `A video: ${short(video.name)} with ${count === 1 ? "one voice" : `${count} voices`}${model ? `, by ${model.title}` : ""}.`;
}

function takes() {
  const seconds = secondsFor(chosenModel(), usedVoice());
  return seconds === null ? "How long it takes is known after the first video." : `Takes about ${duration(seconds)} on this server.`;
}

function ahead() {
  if (!queue) return "";
  if (queue.ahead === 0) return "Nobody is ahead: it begins at once.";
  const others = queue.ahead === 1 ? "1 video is" : `${queue.ahead} videos are`;
  return `${others} ahead${queue.wait_s ? `, for about ${duration(queue.wait_s)}` : ""}.`;
}
