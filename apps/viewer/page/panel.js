// Panel: one image drawn by NiiVue, with its name, its value at a voxel and its scale of colours.

import { Niivue, NVImage, SLICE_TYPE } from "./niivue.js";

// Which voxel axis a plane is cut across, and which run across the screen: right and left in the picture are the patient's
// left and right (or back and front), so to the right an index falls, and upwards it rises.
export const PLANES = {
  axial: { axis: 2, across: [0, 1], type: SLICE_TYPE.AXIAL },
  coronal: { axis: 1, across: [0, 2], type: SLICE_TYPE.CORONAL },
  sagittal: { axis: 0, across: [1, 2], type: SLICE_TYPE.SAGITTAL },
};

const GREY = [[0, 0, 0], [255, 255, 255]];
// Blue below zero, red above; on a dark page zero is dark, and brightness alone tells the size.
const BLUE_RED = [[176, 214, 255], [33, 92, 190], [14, 15, 18], [178, 30, 43], [255, 196, 160]];

const OPTIONS = {
  interactive: false, // the page moves all panels together
  dragAndDropEnabled: false,
  isRadiologicalConvention: true,
  sagittalNoseLeft: true,
  showAllOrientationMarkers: true,
  loadingText: "",
  logLevel: "error",
  fontColor: [0.6, 0.64, 0.7, 1],
  crosshairColor: [0.3, 0.55, 0.85, 1],
  crosshairWidthUnit: "percent",
  crosshairGap: 8,
};

export class Panel {
  constructor(figure, name, title, signed) {
    this.name = name;
    figure.innerHTML = `
      <figcaption><span></span><output aria-live="off"></output></figcaption>
      <div class="picture"><canvas role="img"></canvas><p class="message" role="status"></p></div>
      <div class="scale" aria-hidden="true"><span></span><i></i><span></span></div>`;
    [this.canvas, this.value, this.message] = ["canvas", "output", ".message"].map((part) => figure.querySelector(part));
    [this.lowest, this.highest] = figure.querySelectorAll(".scale span");
    figure.querySelector("figcaption span").textContent = title;
    const stops = signed ? BLUE_RED : GREY;
    figure.querySelector("i").style.background = `linear-gradient(to right, ${stops.map((rgb) => `rgb(${rgb})`)})`;
    this.niivue = new Niivue(OPTIONS);
    this.niivue.addColormap(this.name, {
      R: stops.map((rgb) => rgb[0]),
      G: stops.map((rgb) => rgb[1]),
      B: stops.map((rgb) => rgb[2]),
      A: stops.map(() => 255),
      I: stops.map((_, index) => Math.round((255 * index) / (stops.length - 1))),
    });
  }

  // Fetch the image, to be drawn once it has a window; says whether that went well, and on the panel why not.
  async load() {
    this.message.textContent = `Loading the ${this.name}`;
    try {
      await this.niivue.attachToCanvas(this.canvas);
      const bytes = await fetched(`${this.name}.nii`, (share) => {
        this.message.textContent = `Loading the ${this.name}: ${Math.round(100 * share)} %`;
      });
      this.image = await NVImage.loadFromUrl({ url: bytes, name: `${this.name}.nii`, colormap: this.name });
      this.message.textContent = "";
    } catch (error) {
      const why = await fetch(`${this.name}.txt`).then((answer) => answer.text(), () => "the viewer does not answer; does it still run?");
      this.message.setAttribute("role", "alert");
      this.message.textContent = `The ${this.name} cannot be shown: ${why || error.message}`;
    }
    return Boolean(this.image);
  }

  // Lowest and highest value. NiiVue's own `global_min` and `global_max` are those of the middle of the image.
  range() {
    let [lowest, highest] = [Infinity, -Infinity];
    for (const value of this.image.img) {
      if (value < lowest) lowest = value;
      if (value > highest) highest = value;
    }
    return [lowest, highest];
  }

  window(low, high, unit) {
    this.unit = unit;
    this.lowest.textContent = told(low);
    this.highest.textContent = `${told(high)}${unit}`;
    this.image.cal_min = low;
    this.image.cal_max = high;
    if (this.niivue.volumes.length) this.niivue.updateGLVolume();
    else this.niivue.addVolume(this.image);
  }

  // Draw a slice; tell the value at `pointed`, which is the crosshair's voxel or the one under the pointer.
  draw({ plane, voxel, pan, crosshair }, pointed, label) {
    const { niivue } = this;
    niivue.opts.sliceType = PLANES[plane].type;
    niivue.opts.crosshairWidth = crosshair ? 0.25 : 0;
    niivue.scene.crosshairPos = niivue.vox2frac(voxel);
    niivue.scene.pan2Dxyzmm = [...pan];
    niivue.drawScene();
    this.value.textContent = this.at(pointed);
    this.canvas.setAttribute("aria-label", `${this.name}, ${label}`);
  }

  at(voxel) {
    return `${told(this.image.getValue(...voxel))}${this.unit}`;
  }

  // Where in the image an event happened, in shares of its sides: 0 to 1, or beyond them.
  place(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const scale = this.niivue.uiData.dpr;
    return this.niivue.screenXY2TextureFrac((event.clientX - left) * scale, (event.clientY - top) * scale, 0, false);
  }

  voxel(place) {
    return [...this.niivue.frac2vox(place)];
  }

  mm(place) {
    return [...this.niivue.frac2mm(place)].slice(0, 3);
  }
}

export function told(value, decimals) {
  const text = decimals !== undefined ? value.toFixed(decimals) : Number.isInteger(value) ? String(value) : value.toPrecision(4);
  return text.replace("-", "−");
}

async function fetched(url, progress) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  const bytes = new Uint8Array(Number(answer.headers.get("Content-Length")));
  const reader = answer.body.getReader();
  let filled = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    bytes.set(part.value, filled);
    filled += part.value.length;
    progress(filled / bytes.length);
  }
  if (filled !== bytes.length) throw new Error(`${url} ended after ${filled} of ${bytes.length} bytes`);
  return bytes.buffer;
}
