// Viewer: three panels that show the same place of source, result and difference. All that is shown follows from `state`.

import { Panel, PLANES, told } from "./panel.js";

const HU = { lung: [-600, 1500], mediastinum: [40, 400], bone: [400, 1800] }; // level and width
const SPAN = 200; // the difference's colours end here, HU
const ZOOMS = [0.5, 32];

const element = (id) => document.getElementById(id);
const about = await (await fetch("about.json")).json();
const shape = about.shape.map((side) => Math.ceil(side / about.step));
const state = {
  plane: "axial",
  voxel: shape.map((side) => Math.floor(side / 2)),
  pan: [0, 0, 0, 1], // mm, and zoom
  crosshair: true,
  pointed: null, // the voxel under the pointer
};
const contrast = { presets: HU, level: 0, width: 1, span: SPAN, unit: "" };
const panels = [
  new Panel(element("source"), "source", "Source", false),
  new Panel(element("result"), "result", "Result", false),
  new Panel(element("difference"), "difference", "Result − source", true),
];
const shown = [];

// ---- what follows from the state

let asked = false;

function show() {
  if (!asked) requestAnimationFrame(draw);
  asked = true;
}

function draw() {
  asked = false;
  if (!shown.length) return;
  const { axis } = PLANES[state.plane];
  const slice = `${state.plane} slice ${state.voxel[axis] + 1} of ${shape[axis]}`;
  for (const panel of shown) panel.draw(state, state.pointed ?? state.voxel, slice);
  const [panel] = shown;
  const mm = panel.niivue.frac2mm(panel.niivue.vox2frac(state.voxel), 0, true);
  element("place").textContent =
    `${slice}, voxel ${state.voxel.map((index) => index * about.step).join(" ")}, ` +
    `${[...mm].slice(0, 3).map((side) => told(side, 1)).join(" ")} mm (RAS)`;
  Object.assign(element("slice"), { max: shape[axis] - 1, value: state.voxel[axis], ariaValueText: slice });
  press("planes", (button) => button.dataset.plane === state.plane);
}

function shade(panel) {
  const { level, width, span, unit } = contrast;
  if (panel.name === "difference") panel.window(-span, span, unit);
  else panel.window(level - width / 2, level + width / 2, unit);
}

function showContrast(changed = shown) {
  changed.forEach(shade);
  const { level, width, span, presets } = contrast;
  Object.entries({ level, width, span }).forEach(([name, value]) => (element(name).value = Number(value.toPrecision(6))));
  press("presets", ({ dataset: { preset } }) => presets[preset]?.[0] === level && presets[preset][1] === width);
  show();
}

function press(group, chosen) {
  for (const button of element(group).children) button.setAttribute("aria-pressed", chosen(button));
}

// ---- what changes the state

function setPlane(plane) {
  Object.assign(state, { plane, pointed: null });
  show();
}

function setPreset(name) {
  if (!contrast.presets[name]) return;
  [contrast.level, contrast.width] = contrast.presets[name];
  showContrast();
}

function goTo(voxel) {
  state.voxel = voxel.map((index, axis) => Math.min(Math.max(index, 0), shape[axis] - 1));
  show();
}

function move(axis, by) {
  state.pointed = null;
  goTo(state.voxel.map((index, other) => (other === axis ? index + by : index)));
}

function turnPage(by) {
  move(PLANES[state.plane].axis, by);
}

function zoom(factor, mm) {
  const before = state.pan[3];
  const after = Math.min(Math.max(before * factor, ZOOMS[0]), ZOOMS[1]);
  state.pan = [...state.pan.slice(0, 3).map((side, axis) => side + mm[axis] * (before - after)), after];
  show();
}

function zoomHere(factor) {
  state.pointed = null;
  if (shown.length) zoom(factor, shown[0].mm(shown[0].niivue.vox2frac(state.voxel)));
}

function fit() {
  Object.assign(state, { pan: [0, 0, 0, 1], pointed: null });
  show();
}

// ---- pointer

function inside(place) {
  return place.every((share) => share >= 0 && share <= 1);
}

function listen(panel) {
  const { canvas } = panel;
  let from = null; // where a drag that pans came from, mm

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (event.button === 0 && !event.shiftKey) point(event);
    else from = panel.mm(panel.place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (from) {
      const to = panel.mm(panel.place(event));
      state.pan = state.pan.map((side, axis) => (axis < 3 ? side + (to[axis] - from[axis]) * state.pan[3] : side));
      draw(); // at once: the next event's place is told in the new frame
      from = panel.mm(panel.place(event));
    } else if (event.buttons & 1) point(event);
    else {
      const place = panel.place(event);
      state.pointed = inside(place) ? panel.voxel(place) : null;
      show();
    }
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (from = null));
  canvas.addEventListener("pointerleave", () => {
    state.pointed = null;
    show();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", fit);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.ctrlKey) zoom(1.15 ** -Math.sign(event.deltaY), panel.mm(panel.place(event)));
    else turnPage(-Math.sign(event.deltaY));
  }, { passive: false });

  function point(event) {
    const place = panel.place(event);
    state.pointed = null;
    if (inside(place)) goTo(panel.voxel(place));
  }
}

// ---- keyboard and controls

const across = (which, by) => () => move(PLANES[state.plane].across[which], by);
const KEYS = {
  a: () => setPlane("axial"),
  c: () => setPlane("coronal"),
  s: () => setPlane("sagittal"),
  1: () => setPreset("lung"),
  2: () => setPreset("mediastinum"),
  3: () => setPreset("bone"),
  4: () => setPreset("full"),
  arrowleft: across(0, 1),
  arrowright: across(0, -1),
  arrowup: across(1, 1),
  arrowdown: across(1, -1),
  pageup: () => turnPage(1),
  pagedown: () => turnPage(-1),
  "+": () => zoomHere(1.25),
  "-": () => zoomHere(0.8),
  0: fit,
  x: () => {
    state.crosshair = !state.crosshair;
    show();
  },
};

document.addEventListener("keydown", (event) => {
  const own = { number: /./, range: /^(arrow|page|home|end)/ }[event.target.type]; // keys that a control needs itself
  const key = event.key.toLowerCase();
  if (!KEYS[key] || event.ctrlKey || event.altKey || event.metaKey || own?.test(key)) return;
  event.preventDefault();
  KEYS[key]();
});
element("planes").addEventListener("click", ({ target: { dataset } }) => dataset.plane && setPlane(dataset.plane));
element("presets").addEventListener("click", ({ target: { dataset } }) => dataset.preset && setPreset(dataset.preset));
element("slice").addEventListener("input", ({ target }) => turnPage(Number(target.value) - state.voxel[PLANES[state.plane].axis]));
for (const name of ["level", "width", "span"]) {
  element(name).addEventListener("change", ({ target: { valueAsNumber } }) => {
    if (Number.isFinite(valueAsNumber) && (name === "level" || valueAsNumber > 0)) contrast[name] = valueAsNumber;
    showContrast();
  });
}

// ---- start: one image after the other, each shown as soon as it is there

// Images without values below -200 are not in HU: they are shown as a whole, the difference to a seventh of that.
function choose([lowest, highest]) {
  const full = [(lowest + highest) / 2, Math.max(highest - lowest, 1e-6)];
  const isCt = lowest < -200;
  Object.assign(contrast, { presets: isCt ? { ...HU, full } : { full }, unit: isCt ? " HU" : "", span: isCt ? SPAN : full[1] / 7 });
  for (const button of element("presets").children) button.disabled = !contrast.presets[button.dataset.preset];
  [contrast.level, contrast.width] = isCt ? HU.lung : full;
}

const title = `${about.source} → ${about.result}` + (about.step > 1 ? ` (one voxel of ${about.step} along each axis)` : "");
Object.assign(element("title"), { textContent: title, title });
document.title = title;
for (const panel of panels) {
  if (!(await panel.load())) continue;
  if (!shown.length) choose(panel.range());
  shown.push(panel);
  listen(panel);
  showContrast([panel]);
}
element("slice").disabled = !shown.length;
if (!shown.length) element("place").textContent = "Nothing can be shown";
document.body.dataset.ready = "true";
