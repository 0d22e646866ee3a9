// Plays an mp4 that grows, by Media Source Extensions.

const KEPT_S = 10; // before the picture that is shown; older ones go where the browser has no more room
const ROOM_EVERY_MS = 500;
const Source = window.MediaSource ?? window.ManagedMediaSource;

export const hasMediaSource = Boolean(Source);
export const canPlay = (type) => Boolean(Source?.isTypeSupported(type));

// Connects a video with a new source; returns { source, buffer } once it takes bytes of a type.
export async function openSource(video, type, signal) {
  const source = new Source();
  const address = URL.createObjectURL(source);
  video.src = address;
  await next(source, "sourceopen", signal);
  URL.revokeObjectURL(address);
  return { source, buffer: source.addSourceBuffer(type) };
}

// Appends bytes; where the browser has no room, pictures that were shown make some.
export async function append(video, buffer, bytes, signal) {
  for (;;) {
    try {
      buffer.appendBuffer(bytes);
      return next(buffer, "updateend", signal);
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
    }
    await makeRoom(video, buffer, signal);
  }
}

// Drops pictures that were shown, or waits until some were.
async function makeRoom(video, buffer, signal) {
  const until = video.currentTime - KEPT_S;
  if (buffer.buffered.length && buffer.buffered.start(0) < until) {
    buffer.remove(0, until);
    return next(buffer, "updateend", signal);
  }
  await new Promise((later) => setTimeout(later, ROOM_EVERY_MS));
  signal.throwIfAborted();
}

// Waits for an event; it fails where the signal comes first.
function next(target, event, signal) {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    const goOn = () => {
      signal.removeEventListener("abort", giveUp);
      resolve();
    };
    target.addEventListener(event, goOn, { once: true, signal });
    signal.addEventListener("abort", giveUp, { once: true });
  });
}
