// Keeps the original at the moment that the result shows, also where the result plays it back and forth.

const FAR_S = 0.25; // beyond this the original jumps; within, it runs a little faster or slower
const NEAR_S = 0.03;
const CATCH_UP = 0.15; // of the normal speed

export class Follower {
  constructor(source, result) {
    this.source = source;
    this.result = result;
    this.video = null;
  }

  follow(video) {
    this.video = video;
  }

  // Where the original is at a time of the result, and whether it runs forwards there.
  moment(time) {
    const start = this.source.start_s;
    const end = Math.min(this.source.end_s ?? Infinity, this.video.duration);
    const span = Math.max(end - start, 0.001);
    if (time < span || this.source.then === "cut") return { at: start + Math.min(time, span), runs: time < span };
    if (this.source.then === "loop") return { at: start + (time % span), runs: true };
    if (this.source.then === "hold") return { at: end, runs: false };
    const place = time % (2 * span);
    return place < span ? { at: start + place, runs: true } : { at: start + 2 * span - place, runs: false };
  }

  step() {
    const { video, result } = this;
    if (!video || !(video.readyState >= 1)) return;
    const { at, runs } = this.moment(result.currentTime);
    const behind = at - video.currentTime;
    if (result.paused || !runs) {
      if (!video.paused) video.pause();
      if (Math.abs(behind) > NEAR_S && !video.seeking) video.currentTime = at;
      return;
    }
    if (Math.abs(behind) > FAR_S) {
      if (!video.seeking) video.currentTime = at;
    } else {
      video.playbackRate = result.playbackRate * (1 + (Math.abs(behind) > NEAR_S ? Math.sign(behind) * CATCH_UP : 0));
    }
    if (video.paused) video.play().catch(() => {});
  }
}
