// The title of the tab: the percentage of a job that goes on, and that one has ended while the tab was hidden.

import { percentOf } from "./job_words.js";
import { onJob } from "./jobs.js";
import { notify } from "./notice.js";
import { activeJob, isOwn } from "./result.js";
import { askQueue } from "./summary.js";

const NAME = document.title;
let news = ""; // what has ended while nobody looked

export function startTitle() {
  onJob((job, before) => {
    if (job && before && before.state !== job.state) ended(job);
    draw();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) news = "";
    draw();
  });
}

function ended(job) {
  const isEnd = ["finished", "failed"].includes(job.state);
  if (isEnd || job.state === "cancelled") askQueue({ isEnded: true });
  if (!isEnd || !isOwn(job.id)) return;
  const text = job.state === "finished" ? "Done" : "Failed";
  if (document.hidden) news = text;
  notify(job.video_name, text === "Done" ? "is done" : "failed");
}

function draw() {
  const job = activeJob();
  const percent = job ? percentOf(job) : null;
  const now = job ? (percent === null ? "Working" : `${percent} %`) : news;
  document.title = now ? `${now} · ${NAME}` : NAME;
}
