// Starts the page: signs in if that is needed, then shows the form, the result and the list of videos.

import { call, remove } from "./api.js";
import { startExample } from "./example.js";
import { announce } from "./format.js";
import { startForm } from "./form.js";
import { refreshRows, startHistory } from "./history.js";
import { startJobs } from "./jobs.js";
import { startLive } from "./live.js";
import { startResult } from "./result.js";
import { askForToken } from "./sign_in.js";
import { showStatus, watchReadiness } from "./status.js";
import { startTitle } from "./title.js";
import { startVerify } from "./verify.js";

const ASK_AGAIN_MS = 2000;
const ROWS_EVERY_MS = 30000;

// Repeats a request until it succeeds: the page cannot work without the answer.
async function insist(path) {
  for (;;) {
    try {
      return await call(path);
    } catch {
      showStatus("bad", "Offline");
      await new Promise((later) => setTimeout(later, ASK_AGAIN_MS));
    }
  }
}

function offerSignOut() {
  const signOut = document.getElementById("sign-out");
  signOut.hidden = false;
  signOut.addEventListener("click", async () => {
    try {
      await remove("/session");
      location.reload();
    } catch (problem) {
      announce(problem.text);
      showStatus("bad", "Still signed in");
    }
  });
}

async function start() {
  watchReadiness();
  const session = await insist("/session");
  if (session.token_needed) {
    if (!session.signed_in) await askForToken();
    offerSignOut();
  }
  const limits = await insist("/limits");
  const options = await insist("/options");
  startResult();
  startHistory(limits);
  startTitle();
  startForm(limits, options, refreshRows);
  setInterval(refreshRows, ROWS_EVERY_MS);
  startJobs();
  startExample();
  startVerify();
  startLive();
}

start();
