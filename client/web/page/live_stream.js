// One live stream: sends a voice to the service, and plays the pictures that come back.

import { Problem } from "./api.js";
import { append, canPlay, openSource } from "./media_source.js";

const MOST_BEHIND_S = 1.2; // of what is there, until the rest is skipped
const BEHIND_S = 0.4;
const CATCHES_UP = 1.05; // times as fast, where it is further behind
const JUST_BEHIND_S = 0.1; // after an interruption
const LOST = new Problem("The live stream was interrupted", "The connection was lost. Start it again.");

export class LiveStream {
  // `hear` is told { kind: "opened" | "speaks", ... } as it comes.
  constructor(video, opening, hear) {
    this.video = video;
    this.hear = hear;
    this.parts = []; // of the mp4, that are not appended yet
    this.isAppending = false;
    this.isBeginning = true;
    this.isHurrying = false;
    this.stop = new AbortController();
    this.over = new Promise((resolve, reject) => Object.assign(this, { resolve, reject })); // what the stream says at its end
    this.socket = new WebSocket(`${location.origin.replace("http", "ws")}/live`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.tell({ kind: "open", ...opening });
    this.socket.onmessage = ({ data }) => this.take(data);
    this.socket.onclose = () => this.reject(LOST);
  }

  tell(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  sendVoice(piece) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(piece);
  }

  interrupt() {
    this.isHurrying = true;
    this.tell({ kind: "interrupt" });
  }

  end() {
    this.tell({ kind: "end" });
  }

  // Ends it at once; the last picture stays.
  close() {
    this.stop.abort();
    this.socket.close();
    this.video.pause();
    this.finish();
  }

  take(data) {
    if (typeof data !== "string") {
      this.parts.push(data);
      this.appendAll();
      return;
    }
    const message = JSON.parse(data);
    if (message.kind === "opened") this.begin(message);
    if (message.kind === "speaks") this.hear(message);
    if (message.kind === "ended") this.resolve(message);
    if (message.kind === "problem") this.reject(new Problem(message.problem.title, message.problem.user_message, message.problem.status));
  }

  async begin(message) {
    if (!canPlay(message.media_type)) {
      this.reject(new Problem("Your browser cannot play live streams", "It has no decoder for them. Try another browser."));
      return;
    }
    try {
      Object.assign(this, await openSource(this.video, message.media_type, this.stop.signal));
    } catch {
      return; // it was closed meanwhile
    }
    this.hear(message);
    this.appendAll();
  }

  async appendAll() {
    if (this.isAppending || !this.buffer) return;
    this.isAppending = true;
    try {
      while (this.parts.length) {
        const [part] = this.parts.splice(0, 1);
        await append(this.video, this.buffer, part, this.stop.signal);
        this.keepUp();
      }
    } catch (error) {
      if (!this.stop.signal.aborted) this.reject(new Problem("The pictures cannot be shown", error.message));
    }
    this.isAppending = false;
  }

  // Starts to play, and skips what came while the browser was slow.
  keepUp() {
    const { buffered, currentTime } = this.video;
    if (!buffered.length) return;
    const end = buffered.end(buffered.length - 1);
    const behind = this.isHurrying ? JUST_BEHIND_S : BEHIND_S;
    const isLate = end - currentTime > (this.isHurrying ? behind : MOST_BEHIND_S) && !this.video.paused;
    if (isLate || currentTime < buffered.start(0)) this.video.currentTime = Math.max(buffered.start(0), end - behind);
    this.video.playbackRate = end - this.video.currentTime > BEHIND_S ? CATCHES_UP : 1;
    this.isHurrying = false;
    if (this.isBeginning) this.video.play().catch(() => {}); // where it may not start by itself, its controls start it
    this.isBeginning = false;
  }

  // Lets the video end where its pictures do.
  async finish() {
    while (this.isAppending && !this.stop.signal.aborted) await new Promise((later) => setTimeout(later, 50));
    if (this.source?.readyState === "open" && !this.buffer.updating) this.source.endOfStream();
  }
}
