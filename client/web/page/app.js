// Starts the page: signs in if that is needed, then shows the form and the list of videos.

import { Problem, call, post, remove } from "./api.js";
import { announce, showProblem } from "./format.js";
import { startForm } from "./form.js";
import { startJobs } from "./jobs.js";

const status = document.getElementById("status");
const statusText = document.getElementById("status-text");
const signIn = document.getElementById("sign-in");
const READY_EVERY_MS = 15000;
const ASK_AGAIN_MS = 2000;

function showStatus(kind, text) {
  status.className = `status ${kind}`;
  if (statusText.textContent !== text) statusText.textContent = text;
}

async function watchReadiness() {
  try {
    await call("/ready");
    showStatus("good", "Ready");
  } catch (problem) {
    showStatus("bad", problem.status ? "Not ready" : "Offline");
  }
  setTimeout(watchReadiness, READY_EVERY_MS);
}

async function askForToken() {
  const problem = document.getElementById("sign-in-problem");
  const token = document.getElementById("token");
  const form = document.getElementById("sign-in-form");
  const reopen = () => signIn.showModal(); // browsers close a dialog by Escape, whatever its cancel event says
  signIn.addEventListener("close", reopen);
  signIn.showModal();
  await new Promise((signedIn) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        if (!token.value) throw new Problem("The token is missing", "Paste the token that you were given.");
        await post("/session", { token: token.value });
        signedIn();
      } catch (error) {
        showProblem(problem, error);
        token.select();
      }
    });
  });
  signIn.removeEventListener("close", reopen);
  token.value = "";
  signIn.close();
}

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

async function start() {
  watchReadiness();
  const session = await insist("/session");
  if (session.token_needed) {
    if (!session.signed_in) await askForToken();
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
  const limits = await insist("/limits");
  const options = await insist("/options");
  const jobs = startJobs(limits);
  startForm(limits, options, (job) => jobs.show(job, true));
}

start();
