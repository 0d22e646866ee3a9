// Cuts a part out of a sound, and writes it as a WAV file of 16 bits.

const RATE = 48000; // Hz
const HEADER = 44; // bytes
export const MAX_CUT_S = 20 * 60; // of a sound that is held decoded

// Returns the part of a sound file from one second to another as a file.
export async function cutSound(file, start, end) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const buffer = await context.decodeAudioData(await file.arrayBuffer());
  const first = Math.round(start * RATE);
  const last = Math.min(Math.round(end * RATE), buffer.length);
  const name = `${file.name.replace(/\.[^.]*$/, "")}.wav`;
  return new File([encode(buffer, first, last)], name, { type: "audio/wav" });
}

function encode(buffer, first, last) {
  const channels = buffer.numberOfChannels;
  const bytes = (last - first) * channels * 2;
  const view = new DataView(new ArrayBuffer(HEADER + bytes));
  writeHeader(view, channels, bytes);
  const samples = Array.from({ length: channels }, (_, channel) => buffer.getChannelData(channel));
  let at = HEADER;
  for (let i = first; i < last; i++) {
    for (const channel of samples) {
      view.setInt16(at, Math.round(Math.min(Math.max(channel[i], -1), 1) * 32767), true);
      at += 2;
    }
  }
  return view.buffer;
}

function writeHeader(view, channels, bytes) {
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, HEADER - 8 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, RATE, true);
  view.setUint32(28, RATE * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, bytes, true);
}
