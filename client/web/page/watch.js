// Plays what is ready of a running job's result while the rest is made.

import { contentType, open } from "./api.js";
import { element } from "./format.js";
import { append, canPlay, hasMediaSource, openSource } from "./media_source.js";

let made = 0; // for ids

// Offers to watch a job; what is shown goes into `root`. `show` is told of each change of the job.
export class Watch {
  constructor() {
    this.path = null; // of what is ready; null where there is nothing to watch
    this.type = null; // with its codecs, once it is known
    this.isAsking = false;
    this.stop = null; // ends the stream that is shown
    this.video = null;
    this.button = element("button", { type: "button", className: "quiet", onclick: () => this.start() }, "Watch while it is made");
    this.root = element("div", { className: "watch", hidden: true }, this.button);
  }

  async show(job) {
    this.path = job.links.progressive;
    if (this.path && this.type === null && !this.isAsking) await this.ask();
    this.draw();
  }

  // Finds out whether this browser can play it; asked again at the next change where the answer does not come.
  async ask() {
    this.isAsking = true;
    try {
      this.type = hasMediaSource ? await contentType(this.path) : "";
    } catch {
      this.type = null;
    }
    this.isAsking = false;
  }

  draw() {
    this.button.hidden = !(this.path && this.type && canPlay(this.type)) || this.stop !== null;
    this.root.hidden = this.button.hidden && !this.video;
  }

  async start() {
    const stop = (this.stop = new AbortController());
    const hadFocus = document.activeElement === this.button;
    this.showVideo();
    this.draw();
    if (hadFocus) this.video.focus();
    try {
      await play(this.video, this.path, this.type, stop.signal);
    } catch {
      // The job's end, or the connection's: the steps say how it is.
    }
    if (this.stop === stop) this.stop = null;
    this.path = null; // a later attempt at the job can be watched again
    this.draw();
  }

  showVideo() {
    const id = `watch-${++made}`;
    this.video?.removeAttribute("src");
    this.video = element("video", { controls: true, playsinline: true, disableremoteplayback: true, "aria-label": "What is ready so far", "aria-describedby": id });
    const note = element("p", { className: "muted", id }, "What is ready so far. It is not checked and not signed.");
    this.root.replaceChildren(this.video, note, this.button);
  }

  // Ends it; returns the place that is shown, in seconds, and whether it plays.
  close() {
    const seen = { at: this.video?.currentTime ?? 0, isPlaying: Boolean(this.video) && !this.video.paused };
    this.stop?.abort();
    this.video?.pause();
    this.video?.removeAttribute("src");
    this.video?.load();
    return seen;
  }
}

// Appends a growing file to a video until the file ends.
async function play(video, path, type, signal) {
  const opened = openSource(video, type, signal);
  video.play().catch(() => {}); // where it may not start by itself, its controls start it
  const { source, buffer } = await opened;
  const reader = (await open(path, signal)).body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    await append(video, buffer, value, signal);
    if (buffer.buffered.length && video.currentTime < buffer.buffered.start(0)) video.currentTime = buffer.buffered.start(0); // pictures may begin late
  }
  if (source.readyState === "open") source.endOfStream();
}
