// Sends the form: cuts the speech if only a part is used, uploads both files, and shows how far that is.

import { upload } from "./api.js";
import { fileOf } from "./files.js";
import { announce, size } from "./format.js";
import { addJob } from "./jobs.js";
import { showJob, showUpload } from "./result.js";
import { appendScene, isScene } from "./speakers.js";
import { askQueue } from "./summary.js";
import { voiceToSend } from "./voice_input.js";

// Returns whether a job was made; false if it was cancelled.
export async function sendForm(data) {
  const stop = new AbortController();
  const sending = { video: fileOf("video"), audio: fileOf("audio"), percent: 0, text: "Preparing the files" };
  const show = (change) => showUpload(Object.assign(sending, change), () => stop.abort());
  show({});
  try {
    data.append("video", sending.video);
    if (isScene()) appendScene(data);
    else data.append("audio", await voiceToSend());
    const job = await upload("/jobs", data, (loaded, total) => show(progressOf(loaded, total)), stop.signal);
    announce("Uploaded. The job is queued.");
    addJob(job);
    showJob(job.id, { isNew: true });
    askQueue();
    return true;
  } catch (problem) {
    showUpload(null);
    if (problem.name !== "AbortError") throw problem;
    announce("Upload cancelled");
    return false;
  }
}

function progressOf(loaded, total) {
  const percent = total ? Math.round((100 * loaded) / total) : 0;
  return { percent, text: percent < 100 ? `Uploading, ${percent} % of ${size(total)}` : "Checking the files" };
}
