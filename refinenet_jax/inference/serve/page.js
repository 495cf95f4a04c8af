"use strict";

const LONGEST = 2048;  // sides of what is drawn; phones have no room for more
const WEBCAM_SIDE = 640;
const PATIENCE = 5000;  // milliseconds after which a wait is explained
const SHARES = ["share", "mean share"];
const IS_CLIP = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|mts|ts)$/i;

const $ = (id) => document.getElementById(id);
const canvas = $("canvas"), clip = $("clip"), opacity = $("opacity");

let limits = null;  // of /api/model
let shown = null;  // {name, answer, picture, tint, edge}: what the canvas shows
let abort = null;  // ends the request under way
let task = 0;  // number of the file that was taken last
let camera = null;  // MediaStream of the webcam
let urls = [];  // of blobs, to be given back

// ---------------------------------------------------------------- what is told

function tell(text) {
  if ($("status").textContent !== text) $("status").textContent = text;  // screen readers say every change
}

function fail(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function busy(text) {
  $("cancel").hidden = !text;
  $("webcam").hidden = Boolean(text);
  $("stage").setAttribute("aria-busy", Boolean(text));
  if (!text) $("progress").hidden = true;
  tell(text);
}

// ---------------------------------------------------------------- asking the server

async function ask(path, blob, accept) {
  abort = new AbortController();
  const signal = abort.signal;
  let response;
  try {
    response = await fetch(path, {method: "POST", body: blob, headers: {Accept: accept}, signal});
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  let told = "";
  try { told = (await response.json()).error; } catch { /* no JSON: something between here and the server */ }
  throw Object.assign(new Error(told || `The server answered with ${response.status}.`), {status: response.status});
}

async function take(file) {
  stopCamera();
  abort?.abort();
  const mine = ++task;
  fail("");
  const isClip = file.type.startsWith("video/") || (!file.type && IS_CLIP.test(file.name));
  const most = limits && (isClip ? limits.clip : limits.picture).megabytes;
  if (!file.size) return fail(`${file.name} is empty (0 bytes).`);
  if (most && file.size > most * 1e6) {
    return fail(`${file.name} has ${(file.size / 1e6).toFixed(0)} MB; at most ${most} MB are taken for a ${isClip ? "clip" : "picture"}.`);
  }
  busy(`Looking at ${file.name} …`);
  const explain = setTimeout(() => {
    if (mine === task && $("progress").hidden) busy(`Looking at ${file.name} … The first one of a new shape takes longer.`);
  }, PATIENCE);
  let end = () => tell("");
  try {
    const note = await (isClip ? segmentClip(file) : segmentPicture(file));
    end = () => tell(note);
  } catch (error) {
    if (error.name !== "AbortError") end = () => fail(error.message);
  }
  clearTimeout(explain);
  if (mine !== task) return;  // something else has been begun
  busy("");
  end();
}

// ---------------------------------------------------------------- pictures

async function segmentPicture(file) {
  const response = await ask("/api/segment", file, "application/json");
  const answer = await response.json();
  const picture = await createImageBitmap(file).catch(() => null);
  await show(answer, picture, file.name);
  return picture ? "" : "This browser cannot show this kind of picture; the mask is all there is to see.";
}

async function show(answer, picture, name) {
  const factor = Math.min(1, LONGEST / Math.max(answer.width, answer.height));
  const [width, height] = [answer.width, answer.height].map((n) => Math.max(1, Math.round(n * factor)));
  const drawn = await layers(answer, width, height);
  const before = shown?.downloads;
  shown = {name, answer, picture, ...drawn, downloads: before};
  Object.assign(canvas, {width, height, hidden: false});
  $("drop").hidden = true;
  clip.hidden = true;
  clip.removeAttribute("src");
  $("looks").hidden = $("result").hidden = false;
  $("chart").hidden = true;
  draw();
  areas(answer.areas, answer.classes, ["share", "pixels", "regions"]);
  $("facts").textContent = `${answer.width} × ${answer.height} pixels, segmented at ${answer.inference.width} × ` +
    `${answer.inference.height} in ${answer.seconds.toFixed(2)} s`;
  if (!camera || !before) {
    shown.downloads = downloads([
      ["Overlay", () => [stem() + "_overlay.png", new Promise((done) => canvas.toBlob(done, "image/png"))]],
      ["Mask, class ids", () => [stem() + "_mask.png", new Blob([bytes(shown.answer.mask)], {type: "image/png"})]],
      ["Areas and boxes", () => [stem() + ".json", new Blob([summary()], {type: "application/json"})]],
    ]);
  }
}

function draw() {
  const view = document.querySelector("input[name=view]:checked").value;
  opacity.disabled = view !== "overlay";
  $("tint").classList.toggle("off", opacity.disabled);
  const context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (shown.picture && view !== "mask") {
    context.imageSmoothingQuality = "high";
    context.drawImage(shown.picture, 0, 0, canvas.width, canvas.height);
  }
  if (view === "picture") return;
  context.globalAlpha = view === "mask" ? 1 : opacity.value / 100;
  context.drawImage(shown.tint, 0, 0);
  context.globalAlpha = 1;
  if (view === "overlay" && opacity.value > 0) context.drawImage(shown.edge, 0, 0);
}

function areas(rows, classes, columns) {
  $("area-titles").replaceChildren(...["class", ...columns].map((name) => element("th", {scope: "col", textContent: name})));
  $("areas").replaceChildren(...rows.map((row) => element("tr", {},
    element("td", {}, swatch(classes[row.class_id].colour), row.class_name),
    ...columns.map((name) => element("td", {textContent: SHARES.includes(name) ? percent(row[name]) : row[name].toLocaleString()})))));
}

function summary() {
  const {mask, ...rest} = shown.answer;
  return JSON.stringify(rest, null, 1);
}

// ---------------------------------------------------------------- downloads

const stem = () => shown.name.replace(/\.[^.]*$/, "") || "picture";

function downloads(choices) {
  const buttons = choices.map(([label, make]) => {
    const button = element("button", {type: "button", textContent: label});
    button.addEventListener("click", async () => {
      const [name, content] = make();
      const url = URL.createObjectURL(await content);
      element("a", {href: url, download: name}).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    });
    return button;
  });
  $("downloads").replaceChildren(...buttons);
  return true;
}

// ---------------------------------------------------------------- clips

async function segmentClip(file) {
  const mine = task;
  const response = await ask("/api/video", file, "application/x-ndjson");
  let first = null;
  const answer = await lastLine(response, ({frames, of}) => {
    if (!frames || mine !== task) return;
    const now = performance.now();
    first ??= {frames, now};  // before it, the network may have been compiled
    const seconds = Math.max(of - frames, 0) * (now - first.now) / 1000 / (frames - first.frames);
    const left = seconds < 100 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
    busy(of ? `${frames} of ${of} frames${frames > first.frames ? `, about ${left} left` : ""}` : `${frames} frames`);
    $("progress").hidden = !of;
    Object.assign($("progress"), {max: of || 1, value: frames});
  });
  if (answer.error) throw new Error(answer.error);
  showClip(answer, file.name);
}

// Reads lines of JSON as they come; the last one is the answer, those before it tell how far it is.
async function lastLine(response, progress) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const pieces = [];
  let last = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    const lines = value.split("\n");
    pieces.push(lines[0]);
    for (const line of lines.slice(1)) {
      last = JSON.parse(pieces.splice(0).join(""));
      if ("of" in last) progress(last);
      pieces.push(line);
    }
  }
  if (!last || "of" in last) throw new Error("The server went away before the clip was done.");
  return last;
}

function showClip(answer, name) {
  const overlay = new Blob([bytes(answer.overlay)], {type: answer.overlay_type});
  urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
  urls.push(URL.createObjectURL(overlay));
  shown = {name, answer};
  canvas.hidden = $("drop").hidden = $("looks").hidden = true;
  clip.src = urls[0];
  clip.hidden = $("result").hidden = false;
  const [header, ...rows] = answer.table.trim().split(/\r?\n/).map((line) => line.split(","));
  const pixels = answer.width * answer.height;
  const tracks = answer.classes.slice(1).map(({id, name, colour}) => {
    const column = header.indexOf(`${name}_area`);
    return {class_id: id, class_name: name, colour, shares: rows.map((row) => row[column] / pixels)};
  });
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);
  areas(tracks.map((track) => ({...track, "mean share": mean(track.shares)})), answer.classes, ["mean share"]);
  const most = Math.max(...tracks.flatMap((track) => track.shares), 1e-6);
  $("chart").querySelector("div").replaceChildren(chart(tracks, most));
  $("chart").querySelector("figcaption").textContent = `Share of the frame over time, at most ${percent(most)}`;
  $("chart").hidden = false;
  downloads([
    ["Overlay video", () => [stem() + (answer.overlay_type === "video/mp4" ? "_overlay.mp4" : "_overlay.mkv"), overlay]],
    ["Table of frames", () => [stem() + "_frames.csv", new Blob([answer.table], {type: "text/csv"})]],
  ]);
  $("facts").textContent = `${answer.frames} frames of ${answer.width} × ${answer.height} pixels, ` +
    `${answer.frames_per_second} a second; segmented in ${answer.seconds.toFixed(1)} s`;
}

// ---------------------------------------------------------------- webcam

async function startCamera() {
  fail("");
  if (!navigator.mediaDevices?.getUserMedia) {
    return fail("Browsers give no webcam to this address: open the page as http://localhost, or over https.");
  }
  try {
    camera = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 1280}, facingMode: "environment"}});
  } catch (error) {
    return fail(error.name === "NotFoundError" ? "There is no webcam." : `The webcam cannot be used: ${error.message}.`);
  }
  const stream = camera;
  const live = element("video", {srcObject: stream, muted: true, playsInline: true});
  await live.play();
  busy("Webcam …");
  const frame = element("canvas");
  let before = 0;
  while (camera === stream) {  // one frame under way at a time: the server sets the pace
    const factor = Math.min(1, WEBCAM_SIDE / Math.max(live.videoWidth, live.videoHeight));
    Object.assign(frame, {width: Math.round(live.videoWidth * factor), height: Math.round(live.videoHeight * factor)});
    frame.getContext("2d").drawImage(live, 0, 0, frame.width, frame.height);
    const blob = await new Promise((done) => frame.toBlob(done, "image/jpeg", 0.85));
    try {
      const answer = await (await ask("/api/segment", blob, "application/json")).json();
      if (camera !== stream) break;
      await show(answer, await createImageBitmap(frame), "webcam.jpg");
      const now = performance.now();
      if (before) tell(`Webcam, ${(1000 / (now - before)).toFixed(1)} pictures a second`);
      before = now;
    } catch (error) {
      if (camera !== stream) break;
      if (error.status !== 503) {
        stopCamera();
        fail(error.message);
        break;
      }
      await new Promise((done) => setTimeout(done, 1000));  // others are being served
    }
  }
}

function stopCamera() {
  if (!camera) return;
  camera.getTracks().forEach((track) => track.stop());
  camera = null;
  busy("");
}

// ---------------------------------------------------------------- what people do

$("file").addEventListener("change", ({target}) => {
  if (target.files[0]) take(target.files[0]);
  target.value = "";  // so that the same file can be chosen again
});
$("webcam").addEventListener("click", startCamera);
$("cancel").addEventListener("click", () => {
  task++;
  stopCamera();
  abort?.abort();
  busy("");
});
opacity.addEventListener("input", () => {
  $("percent").textContent = `${opacity.value} %`;
  draw();
});
for (const choice of document.querySelectorAll("input[name=view]")) choice.addEventListener("change", draw);

let depth = 0;  // dragenter and dragleave come for every element inside
addEventListener("dragenter", () => document.body.classList.toggle("over", ++depth > 0));
addEventListener("dragleave", () => document.body.classList.toggle("over", --depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("over");
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => {
  if (event.clipboardData?.files[0]) take(event.clipboardData.files[0]);
});

fetch("/api/model").then((response) => response.json()).then((model) => {
  limits = model.limits;
  const names = model.classes.slice(1).map(({name}) => name).join(", ");
  $("network").textContent = `${model.name}, ${(model.parameters / 1e6).toPrecision(3)} M parameters, finds: ${names}. ` +
    `Pictures up to ${limits.picture.megabytes} MB, clips up to ${limits.clip.seconds} s and ${limits.clip.megabytes} MB.`;
}).catch(() => fail("The server does not answer. Is it still running?"));
