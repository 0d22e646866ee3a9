// A job's stages as steps, with the progress of the current one.

import { element } from "./format.js";
import { STEPS, percentOf, progressText, stepOf } from "./job_words.js";

let made = 0; // for ids

export function makeSteps() {
  const items = STEPS.map((text) => element("li", {}, element("span", { className: "step-dot", "aria-hidden": "true" }), text));
  const id = `progress-${++made}`;
  const label = element("label", { for: id });
  const bar = element("progress", { id, max: 100 });
  const list = element("ol", { className: "stages" }, ...items);
  const root = element("div", { className: "job-progress" }, list, label, bar);
  const showAt = (current, text, percent) => {
    items.forEach((item, index) => {
      item.className = index < current ? "done" : index === current ? "current" : "";
      if (index === current) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    });
    label.textContent = text;
    if (percent === null) bar.removeAttribute("value");
    else bar.value = percent;
  };
  const show = (job) => showAt(stepOf(job), progressText(job), job.state === "queued" ? 0 : percentOf(job));
  const showUpload = ({ text, percent }) => showAt(0, text, percent);
  return { root, show, showUpload };
}
