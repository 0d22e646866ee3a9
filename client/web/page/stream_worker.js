// Holds the stream of events for all tabs of this browser, which may open only a few connections to one host.

import { Stream } from "./stream.js";

const stream = new Stream();

addEventListener("connect", (event) => {
  const [port] = event.ports;
  const follower = (message) => port.postMessage(message);
  port.addEventListener("message", ({ data }) => {
    if (data.kind === "join") stream.join(follower, data.after);
    else stream.leave(follower);
  });
  port.start();
});
