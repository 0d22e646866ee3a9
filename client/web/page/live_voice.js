// Voices for a live stream, in pieces of 16 bits: what the microphone hears, or a recording at the pace of a speaker.

import { Problem } from "./api.js";

const RATE = 48000; // Hz, of recordings
const PIECE_S = 0.05;
const EVERY_MS = 40;
const AHEAD_S = 0.3; // by which a recording is sent before it is heard
const MAX_FILE_BYTES = 60e6; // of a recording that is held decoded
const NO_MICROPHONE = {
  NotAllowedError: "Allow this page to use it, then start again. Or use a recording.",
  NotFoundError: "None was found. Connect one, or use a recording.",
};

// Opens the microphone; `hear` is called with each piece once it is started.
export async function openMicrophone(hear) {
  const sound = await askForMicrophone();
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule("/page/live_microphone.js");
  } catch {
    release(sound, context);
    throw new Problem("The microphone cannot be used", "Your browser cannot pass on its sound. Use a recording.");
  }
  const source = context.createMediaStreamSource(sound);
  const pieces = new AudioWorkletNode(context, "pieces", { channelCount: 1, channelCountMode: "explicit" });
  pieces.port.onmessage = ({ data }) => hear(asLevels(data));
  return {
    rate: context.sampleRate,
    isEndless: true,
    start: () => source.connect(pieces).connect(context.destination), // it gives silence there; without a way out it may not run
    drop: () => {},
    stop: () => release(sound, context),
  };
}

async function askForMicrophone() {
  const title = "The microphone cannot be used";
  if (!navigator.mediaDevices) throw new Problem(title, "Browsers give it to pages with https alone, or of this machine. Use a recording.");
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true } });
  } catch (error) {
    throw new Problem(title, NO_MICROPHONE[error.name] ?? "Another program may use it. Or use a recording.");
  }
}

function release(sound, context) {
  for (const track of sound.getTracks()) track.stop();
  context.close();
}

// Opens a recording; `hear` is called with each piece once it is started, and with null at its end.
export async function openRecording(file, hear) {
  const samples = await decode(file);
  const length = Math.round(PIECE_S * RATE);
  let sent = 0;
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
  };
  const sendUntil = (seconds) => {
    for (; timer && sent < Math.min(seconds * RATE, samples.length); sent += length) hear(asLevels(samples.subarray(sent, sent + length)));
    if (!timer || sent < samples.length) return;
    stop();
    hear(null);
  };
  const start = () => {
    const began = performance.now();
    timer = setInterval(() => sendUntil((performance.now() - began) / 1000 + AHEAD_S), EVERY_MS);
  };
  return { rate: RATE, isEndless: false, start, drop: stop, stop };
}

// Returns a file's sound, its channels mixed.
async function decode(file) {
  if (file.size > MAX_FILE_BYTES) throw new Problem("The recording is too large", `Choose one of at most ${MAX_FILE_BYTES / 1e6} MB.`);
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Problem("The recording cannot be used", "Your browser cannot decode it, or it has no sound. Choose another one.");
  }
  const mixed = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((sample, i) => { mixed[i] += sample / buffer.numberOfChannels; });
  }
  return mixed;
}

function asLevels(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((sample, i) => view.setInt16(2 * i, Math.round(Math.min(Math.max(sample, -1), 1) * 32767), true));
  return view.buffer;
}
