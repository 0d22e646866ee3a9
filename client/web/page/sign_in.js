// The dialog that asks for a token.

import { Problem, post } from "./api.js";
import { showProblem } from "./format.js";

export async function askForToken() {
  const signIn = document.getElementById("sign-in");
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
