// The page: keeps what was chosen, asks the service and shows the answer.

import * as choice from "./choice.js";
import * as contributions from "./contributions.js";
import { $ } from "./dom.js";
import * as focus from "./focus.js";
import * as key from "./key.js";
import { Latest } from "./latest.js";
import { say } from "./message.js";
import * as picture from "./picture.js";
import * as saving from "./saving.js";
import * as service from "./service.js";
import { Camera, Pad, Series, files } from "./sources.js";
import * as timing from "./timing.js";
import * as verdict from "./verdict.js";
import { isolated, percent, ranked } from "./words.js";

const RETRY_MS = 1000;

const camera = new Camera($("video"));
const pad = new Pad($("pad"), (file) => series.give([file], "pad"));
const series = new Series({ previous: $("previous"), next: $("next"), rest: $("pick"), take });

const listing = new Latest(); // for the models
const asking = new Latest(); // for what was chosen
const looking = new Latest(); // for the maps of a class

let image = null; // the latest file
let resting = "drop"; // what the stage shows while neither pad nor camera is open
let at = "drop"; // the part of the stage that the latest file came from
let shown = null; // the answer for it, and what was asked
let drawMaps = () => {};
let waiting = null;

// What is offered

async function load() {
  clearTimeout(waiting);
  const signal = listing.next(); // so that a late refusal of the previous key is not taken for one of this key
  try {
    const notice = offer(await service.models(signal));
    key.dismiss();
    say(notice);
    if (image && choice.reference() !== shown?.reference) await classify();
  } catch (error) {
    if (signal.aborted) return;
    const starting = error.status === 503;
    if (starting) waiting = setTimeout(load, RETRY_MS);
    complain(error, starting ? null : load);
  }
}

function offer(listed) {
  const notice = choice.offer(listed);
  offerDrawing();
  return notice;
}

function offerDrawing() {
  $("draw").hidden = choice.model().input.channels !== 1;
  if ($("draw").hidden && !$("pad").hidden) show(resting);
}

// What is on the stage: one of drop, preview, nopreview, video, pad

function show(name) {
  focus.keep($("pick"), () => {
    for (const id of ["drop", "preview", "nopreview", "video", "pad"]) $(id).hidden = id !== name;
    $("shoot").hidden = name !== "video";
    $("clear").hidden = name !== "pad";
  });
  $("draw").setAttribute("aria-pressed", name === "pad");
  $("camera").setAttribute("aria-pressed", name === "video");
  if (name !== "video") camera.stop();
  // What is on the pad or in front of the camera was not classified yet: show no answer beside it.
  const other = name !== at && ["pad", "video"].includes(name);
  $("answer").classList.toggle("elsewhere", other);
  $("given").hidden = other;
}

async function take(file, { place, stage }) {
  const signal = begin();
  image = file;
  say("");
  const bitmap = await picture.decode(file);
  if (signal.aborted) {
    bitmap?.close();
    return;
  }
  resting = bitmap ? "preview" : "nopreview";
  $("given").textContent = stage ? "" : `${place}${isolated(file.name)}${bitmap ? `, ${size(bitmap)}` : ""}`;
  if (bitmap) picture.preview($("preview"), bitmap);
  $("preview").setAttribute("aria-label", `The image: ${file.name}`);
  $("nopreview").textContent = `The browser cannot display ${isolated(file.name)}.`;
  at = stage ?? resting;
  show(at);
  await classify(signal);
}

const size = ({ width, height }) => `${width} × ${height} pixels`;

// Asking

/** Cancel all earlier requests, so that no late answer is shown for the current choice. */
function begin() {
  const signal = asking.next();
  looking.abort();
  shown = null;
  $("announce").textContent = "";
  $("answer").setAttribute("aria-busy", "true");
  return signal;
}

async function classify(signal = begin()) {
  try {
    if (!image) return;
    if (!choice.model()) return void (await load()); // which classifies, once there is a model
    const asked = { image, model: choice.model(), reference: choice.reference() };
    const questions = [service.predict(image, asked.reference, signal), service.statistics(asked.reference, signal)];
    const [told, statistics] = await Promise.all(questions);
    if (signal.aborted) return; // while only the statistics were missing
    shown = { ...asked, ...told, statistics };
    say("");
    $("curl").textContent = service.curl(asked.image, asked.reference, "explanation" in shown.body);
    timing.show(shown.stages, shown.took);
    explain(shown, ranked(shown.body.probabilities)[0]);
    const { label, probability } = shown.body;
    $("announce").textContent = verdict.uncertain(shown.body) || `${label}, ${percent(probability)}`;
  } catch (error) {
    if (signal.aborted) return;
    complain(error, () => classify());
    if (error.code === "model_not_found") service.models().then(offer).catch((none) => complain(none, load));
  } finally {
    if (!signal.aborted) $("answer").setAttribute("aria-busy", "false");
  }
}

/** Show an answer, and explain one of its classes. */
async function explain(told, label) {
  const signal = looking.next();
  told.explained = label;
  verdict.show(told.body, told.statistics, label, (chosen) => explain(told, chosen));
  $("why").hidden = $("save-picture").hidden = !told.body.explanation;
  if (!told.body.explanation) return;
  const { input, branches } = told.model;
  contributions.show(told.body, told.statistics, label, input);
  drawMaps = () => {};
  const grey = picture.greys(resting === "preview" ? $("preview") : null, input);
  const regions = branches.map(({ region }) => region);
  try {
    const maps = await service.explain(told.image, told.reference, label, signal);
    drawMaps = () => contributions.maps(maps, { grey, size: input, regions, shared: $("shared").checked });
    drawMaps();
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 401) complain(error);
    else say(`The maps are missing: ${error.message}`, () => explain(told, label));
  }
}

// Errors

function complain(error, again) {
  forget();
  if (error.status === 401) say(key.ask());
  else say(error.message, error.passing ? again : null);
}

function forget() {
  shown = null;
  $("verdict").hidden = $("why").hidden = $("foot").hidden = true;
  $("empty").hidden = image !== null;
  $("unanswered").hidden = image === null;
}

// Wiring

files({
  button: $("pick"),
  input: $("file"),
  stage: $("stage"),
  take: (given) => series.give(given),
  none: () => say("What you dropped contains no image file. Save the image and drop the file, or copy the image and paste it here."),
});
$("drop").addEventListener("click", () => $("file").click());
choice.onChosen(() => {
  offerDrawing();
  classify();
});
$("camera").addEventListener("click", async ({ detail }) => {
  if (detail > 1) return; // the second click of a double click, which may come when the camera is on
  if (!$("video").hidden) return show(resting);
  try {
    await camera.start();
    show("video");
  } catch (error) {
    say(error.message);
  }
});
$("shoot").addEventListener("click", async () => series.give([await camera.shoot()]));
$("draw").addEventListener("click", () => {
  if (!$("pad").hidden) return show(resting);
  show("pad");
  $("pad").focus();
});
$("clear").addEventListener("click", () => {
  begin();
  pad.clear();
  image = null;
  resting = at = "drop";
  $("given").textContent = "";
  forget();
  say("");
  $("answer").setAttribute("aria-busy", "false");
});
$("shared").addEventListener("change", () => drawMaps());
$("copy").addEventListener("click", async () => {
  $("copy").textContent = $("announce").textContent = await saving.copy($("curl"));
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
});
$("save-answer").addEventListener("click", () => {
  saving.save(new Blob([shown.text], { type: "application/json" }), saving.name(shown, "json"));
});
$("save-picture").addEventListener("click", async () => {
  const told = shown;
  try {
    saving.save(await service.picture(told.image, told.reference, told.explained), saving.name(told, "png"));
  } catch (error) {
    if (error.status === 401) complain(error);
    else say(`The picture is missing: ${error.message}`);
  }
});
key.onGiven(load);

picture.scale($("scale"));
load();
