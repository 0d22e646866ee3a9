// What can be done with a job, for the place of the result and for the rows of the list alike.

import { post } from "./api.js";
import { element } from "./format.js";
import { reuse } from "./form.js";
import { addJob } from "./jobs.js";

// Returns the actions of a job in its state, each with a text and either `act` or `href`.
export function actionsOf(job, removeJob) {
  const made = [];
  const change = (what) => () => post(`${job.links.self}/${what}`).then(addJob);
  if (job.state === "finished") made.push({ text: "Download", href: `${job.links.result}?download=true` });
  if (["queued", "running"].includes(job.state)) made.push({ text: "Cancel", act: change("cancel") });
  if (["failed", "cancelled"].includes(job.state)) {
    made.push({ text: "Try again", act: change("retry") });
    if (job.links.audio) made.push({ text: "Replace the video", act: () => reuse(job, { replaceVideo: true }) });
  }
  if (["finished", "failed", "cancelled"].includes(job.state)) {
    made.push({ text: "Use these settings again", act: () => reuse(job) });
    made.push({ text: "Remove", act: () => removeJob(job) });
  }
  return made;
}

// Makes the button or link of an action; `fail` is told of a problem.
export function actionButton(job, { text, act, href }, fail, className = "quiet") {
  const name = { "aria-label": `${text}: ${job.video_name}` };
  if (href) return element("a", { className: "button primary", href, download: "", ...name }, text);
  const button = element("button", { type: "button", className, ...name }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await act();
    } catch (problem) {
      fail(problem);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}
