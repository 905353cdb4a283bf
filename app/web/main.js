// The page: holds what was chosen, asks the service, shows the answer.

import * as answer from "./answer.js";
import * as key from "./key.js";
import * as picture from "./picture.js";
import * as service from "./service.js";
import { Camera, Pad, files } from "./sources.js";

const $ = (id) => document.getElementById(id);
const RETRY_MS = 1000;

const camera = new Camera($("video"));
const pad = new Pad($("pad"), (file) => take(file, { shown: "pad" }));

let models = [];
let image = null; // the file that was given last
let bitmap = null; // the same decoded, where the browser can
let last = null; // the answer that is shown
let asking = new AbortController();
let drawMaps = () => {};

// What is chosen

const model = () => models.find(({ name }) => name === $("model").value);
const reference = () => `${$("model").value}:${$("version").value}`;

async function load() {
  try {
    const listed = await service.models();
    models = listed.models;
    $("model").replaceChildren(...models.map(({ name }) => new Option(name, name, false, name === listed.default)));
    $("model").disabled = $("version").disabled = false;
    key.dismiss();
    say("");
    choose();
  } catch (error) {
    if (error.status === 503) setTimeout(load, RETRY_MS);
    complain(error);
  }
}

function choose() {
  const { versions, version, input, labels } = model();
  $("version").replaceChildren(
    ...versions.toReversed().map((number) => new Option(number, number, false, number === version)),
  );
  const kind = { 1: "grey", 3: "colour" }[input.channels] ?? `${input.channels} bands`;
  $("facts").textContent = `The model reads ${input.width} × ${input.height} pixels, ${kind}, and knows `
    + `${labels.length} classes: ${labels.slice(0, 12).join(", ")}${labels.length > 12 ? ", …" : ""}.`;
  $("draw").hidden = input.channels !== 1;
  if ($("draw").hidden && !$("pad").hidden) show(image ? "preview" : "drop");
}

// What is on the stage: one of drop, preview, nopreview, video, pad

function show(name) {
  for (const id of ["drop", "preview", "nopreview", "video", "pad"]) $(id).hidden = id !== name;
  $("shoot").hidden = name !== "video";
  $("clear").hidden = name !== "pad";
  $("draw").setAttribute("aria-pressed", name === "pad");
  $("camera").setAttribute("aria-pressed", name === "video");
  if (name !== "video") camera.stop();
}

async function take(file, { shown } = {}) {
  image = file;
  bitmap = await picture.decode(file);
  if (shown) {
    show(shown);
  } else if (bitmap) {
    picture.preview($("preview"), bitmap);
    show("preview");
  } else {
    $("nopreview").textContent = `${file.name}: the browser cannot show it, but the model may read it.`;
    show("nopreview");
  }
  await classify();
}

// Asking

async function classify() {
  if (!image || !model()) return;
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  $("answer").setAttribute("aria-busy", "true");
  try {
    const { body, stages, took } = await predictWithReasons(signal);
    const [winner] = answer.ranked(body.probabilities);
    last = body;
    say("");
    $("curl").textContent = service.curl(image, reference());
    answer.timing(stages, took);
    await explain(winner, signal);
    $("announce").textContent = `${body.label ?? "Uncertain"}, ${answer.percent(body.probability)}`;
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
  } finally {
    if (!signal.aborted) $("answer").setAttribute("aria-busy", "false");
  }
}

async function predictWithReasons(signal) {
  try {
    return await service.predict(image, reference(), { signal });
  } catch (error) {
    // A model whose logits are no sums answers all the same, only without reasons.
    if (error.code !== "invalid_parameter") throw error;
    return service.predict(image, reference(), { signal, explain: false });
  }
}

async function explain(label, signal = asking.signal) {
  answer.verdict(last, label, (chosen) => explain(chosen).catch(complain));
  $("why").hidden = !last.explanation;
  if (!last.explanation) return;
  answer.branches(last, label);
  const { input, branches } = model();
  const maps = await service.explain(image, reference(), label, signal);
  drawMaps = () => {
    const regions = branches.map(({ region }) => region);
    answer.maps(maps, { grey: picture.greys(bitmap, input), size: input, regions, shared: $("shared").checked });
  };
  drawMaps();
}

// Saying what went wrong

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

function complain(error) {
  if (error.status === 401) {
    say(key.ask());
    return;
  }
  forget();
  say(error.message);
}

function forget() {
  last = null;
  $("verdict").hidden = $("why").hidden = $("foot").hidden = true;
  $("empty").hidden = false;
}

// Wiring

files({ button: $("pick"), input: $("file"), stage: $("stage"), take });
$("drop").addEventListener("click", () => $("file").click());
$("model").addEventListener("change", () => {
  choose();
  classify();
});
$("version").addEventListener("change", classify);
$("choice").addEventListener("submit", (event) => event.preventDefault());
$("camera").addEventListener("click", async () => {
  try {
    await camera.start();
    show("video");
  } catch (error) {
    say(error.message);
  }
});
$("shoot").addEventListener("click", async () => take(await camera.shoot()));
$("draw").addEventListener("click", () => {
  show("pad");
  $("pad").focus();
});
$("clear").addEventListener("click", () => {
  pad.clear();
  image = bitmap = null;
  forget();
  say("");
});
$("shared").addEventListener("change", () => drawMaps());
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("curl").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
});
key.onGiven(load);

picture.scale($("scale"));
load();
