// The original of a result: a picture, the uploaded video, or the service's copy of one that the browser cannot show.

import { element } from "./format.js";

// Puts the original into a place; the follower is told of a video.
export async function loadOriginal(job, place, follower) {
  let kind = "";
  try {
    const head = await fetch(job.links.video, { headers: { Range: "bytes=0-0" } });
    kind = head.headers.get("Content-Type") ?? "";
  } catch {
    // shown below as not playable
  }
  if (kind.startsWith("image/")) {
    place.prepend(element("img", { src: job.links.video, alt: "The original picture" }));
    return;
  }
  const video = element("video", { src: job.links.video, preload: "auto", playsinline: true, "aria-label": "Original" });
  video.muted = true;
  const instead = () => {
    if (video.getAttribute("src") !== job.links.video) {
      video.replaceWith(cannot("Your browser cannot play the original."));
      return;
    }
    video.poster = job.links.poster; // shown until the copy is made
    video.src = job.links.preview;
  };
  video.addEventListener("error", instead);
  video.addEventListener("loadedmetadata", () => video.videoWidth || instead()); // only its sound can be played
  place.prepend(video);
  follower.follow(video);
}

export const cannot = (text) => element("p", { className: "cannot" }, text);
