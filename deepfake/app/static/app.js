// Uploads, their progress and their results. All text of others enters the page as text, never as HTML.
const SVG = "http://www.w3.org/2000/svg";
const POLL_MS = 400;
const KEPT = "videos"; // ids of this tab's uploads, so that a reload shows them again

const list = document.getElementById("videos");
const drop = document.getElementById("drop");
const pick = document.getElementById("pick");
const notice = document.getElementById("notice");
const maxMb = Number(document.body.dataset.maxMb);
const uploads = [];
let uploading = false;

function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "line", "circle", "text", "path", "title"].includes(name);
  const node = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const prob = (value) => value.toFixed(3);
const clock = (s) => (s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`);
const percent = (share) => `${Math.round(100 * share)} %`;
const count = (number, noun, nouns) => `${number} ${number === 1 ? noun : nouns}`;

// ---- what is dropped

function take(files) {
  notice.hidden = true;
  const large = files.filter((file) => file.size > maxMb * 1e6);
  if (large.length) {
    notice.textContent = large.map((file) => `${file.name} is larger than the ${maxMb} MB that this page takes.`).join(" ");
    notice.hidden = false;
  }
  for (const file of files.filter((file) => !large.includes(file))) uploads.push([file, new Card(file.name)]);
  uploadNext();
}

async function uploadNext() {
  if (uploading) return;
  uploading = true;
  while (uploads.length) {
    const [file, card] = uploads.shift();
    if (!card.removed) await upload(file, card);
  }
  uploading = false;
}

function upload(file, card) {
  return new Promise((resolve) => {
    const form = new FormData();
    form.append("video", file);
    const request = new XMLHttpRequest();
    request.open("POST", "/api/videos");
    request.responseType = "json";
    request.upload.onprogress = (event) => card.progress("uploading", event.lengthComputable ? event.loaded / event.total : null);
    request.onload = () => {
      if (request.status === 202) card.follow(request.response.id);
      else card.fail(request.response?.error ?? `the upload was refused (${request.status})`);
      resolve();
    };
    request.onerror = () => { card.fail("the upload broke off: is the page's program still running?"); resolve(); };
    request.onabort = () => resolve();
    card.abort = () => request.abort();
    request.send(form);
  });
}

// ---- a video in the list

class Card {
  constructor(name) {
    this.id = null;
    this.removed = false;
    this.abort = () => {};
    this.title = make("span", {}, name);
    this.state = make("small", {}, "waiting for its upload");
    this.chip = make("span", { class: "chip", hidden: "" });
    this.bar = make("progress", { class: "bar", max: 1, value: 0, "aria-label": "progress" });
    this.fold = make("button", { class: "name", disabled: "", onclick: () => this.open(this.result.hidden) }, this.title, this.state);
    const cross = make("button", { class: "cross", title: "Remove", "aria-label": "Remove", onclick: () => this.remove() }, "×");
    this.result = make("div", { class: "result", hidden: "" });
    this.node = make("article", { class: "video" }, make("div", { class: "top" }, this.fold, this.chip, cross), this.bar, this.result);
    list.prepend(this.node);
  }

  progress(stage, share) {
    this.state.textContent = share === null ? `${stage} …` : `${stage}, ${percent(share)}`;
    if (share === null) this.bar.removeAttribute("value");
    else this.bar.value = share;
  }

  follow(id) {
    this.id = id;
    keep((ids) => [...ids.filter((other) => other !== id), id]);
    this.poll();
  }

  async poll() {
    while (!this.removed) {
      let video;
      try {
        const response = await fetch(`/api/videos/${this.id}`);
        video = await response.json();
        if (!response.ok) { this.fail(video.error); keep((ids) => ids.filter((id) => id !== this.id)); return; }
      } catch {
        this.progress("the page's program does not answer; trying again", null);
        await new Promise((resolve) => setTimeout(resolve, 2000));
        continue;
      }
      this.title.textContent = video.name;
      if (video.status === "done") return this.show(video);
      if (video.status === "failed") return this.fail(video.message);
      if (video.status === "waiting") { this.progress(video.place === 1 ? "next in the queue" : `number ${video.place} in the queue`, 0); }
      else this.progress(video.stage, video.progress);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  fail(message) {
    this.state.textContent = message;
    this.label("failed", "not judged");
  }

  label(kind, text) {
    this.bar.hidden = true;
    this.chip.className = `chip ${kind}`;
    this.chip.textContent = text;
    this.chip.hidden = false;
  }

  show(video) {
    const { prediction } = video;
    this.label(prediction.verdict, prediction.prob === null ? prediction.verdict : `${prediction.verdict} ${prob(prediction.prob)}`);
    this.state.textContent = prediction.reason || `${clock(video.seconds)}, ${count(prediction.tracks.length, "person", "people")}`;
    this.result.replaceChildren(...view(video));
    this.fold.disabled = false;
    for (const other of document.querySelectorAll(".video")) if (other !== this.node) other.querySelector(".result").hidden = true;
    this.open(true);
  }

  open(wide) {
    this.result.hidden = !wide;
    this.fold.setAttribute("aria-expanded", String(wide));
  }

  remove() {
    this.removed = true;
    this.abort();
    this.node.remove();
    if (this.id === null) return;
    fetch(`/api/videos/${this.id}`, { method: "DELETE" }).catch(() => {});
    keep((ids) => ids.filter((id) => id !== this.id));
  }
}

function keep(change) {
  sessionStorage.setItem(KEPT, JSON.stringify(change(JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"))));
}

// ---- a result

const verdictOf = (value, threshold) => (value >= threshold ? "fake" : "real");

function view(video) {
  const { prediction, threshold, files } = video;
  const drawn = files[video.annotated];
  const player = video.annotated.endsWith(".mp4") ? make("video", { src: drawn, controls: "", playsinline: "", preload: "metadata", "aria-label": "annotated video" }) : null;
  const picture = drawn && !player ? make("img", { class: "picture", src: drawn, alt: "annotated picture" }) : null;
  const note = video.note ? make("p", { class: "soft" }, video.note) : null;
  const seek = (s) => { if (player) { player.currentTime = s; player.scrollIntoView({ block: "nearest", behavior: "smooth" }); } };
  return [verdict(prediction, threshold), player, picture, note, people(video, player, seek), telling(video, seek), links(files)].filter((part) => part !== null);
}

const SENTENCES = {
  fake: "At least one face looks manipulated to this detector.",
  real: "No face looks manipulated to this detector.",
  undetermined: "No verdict",
};

function verdict(prediction, threshold) {
  const why = prediction.verdict === "undetermined" ? `${SENTENCES.undetermined}: ${prediction.reason || "the score is too near to the threshold"}.` : SENTENCES[prediction.verdict];
  return make("div", { class: "verdict" },
    make("strong", { class: prediction.verdict }, prediction.verdict),
    prediction.prob === null ? make("span") : scale(prediction.prob, threshold, prediction.verdict),
    make("p", { class: "soft" }, why));
}

function scale(value, threshold, kind) {
  const x = (p) => 10 + 300 * p;
  return make("svg", { class: "scale", viewBox: "0 0 320 46", role: "img", "aria-label": `P(fake) ${prob(value)}, threshold ${prob(threshold)}` },
    make("rect", { class: "rail", x: 10, y: 20, width: 300, height: 8, rx: 4 }),
    make("rect", { class: `mark ${kind}`, x: 10, y: 20, width: Math.max(300 * value, 8), height: 8, rx: 4 }),
    make("line", { class: "cut", x1: x(threshold), x2: x(threshold), y1: 14, y2: 32 }),
    make("circle", { class: `mark ${kind}`, cx: x(value), cy: 24, r: 8 }),
    make("text", { x: Math.min(Math.max(x(value), 46), 274), y: 10, "text-anchor": "middle" }, `P(fake) ${prob(value)}`),
    make("text", { x: 10, y: 44, "text-anchor": "middle" }, "0"), make("text", { x: 310, y: 44, "text-anchor": "middle" }, "1"),
    make("text", { x: Math.min(Math.max(x(threshold), 50), 270), y: 44, "text-anchor": "middle" }, `threshold ${prob(threshold)}`));
}

function people(video, player, seek) {
  const { prediction, threshold, faces } = video;
  if (!prediction.tracks.length) return null;
  const end = Math.max(video.seconds, ...prediction.tracks.map((track) => track.end_s), 0.04);
  const rows = [...prediction.tracks].sort((a, b) => b.prob - a.prob).map((track) => {
    const face = faces.find((face) => face.track === track.track);
    const file = video.portraits?.[track.track] ?? face?.file;
    const interval = track.low === null ? "" : ` (${track.low.toFixed(2)}–${track.high.toFixed(2)})`;
    return make("div", { class: "person" },
      file ? make("img", { src: video.files[file], alt: `person ${track.track + 1}`, loading: "lazy" }) : make("span", { class: "blank" }),
      make("div", {}, make("b", {}, `Person ${track.track + 1}`),
        make("span", { class: verdictOf(track.prob, threshold) }, `${prob(track.prob)}${interval}`),
        make("small", {}, ` ${track.start_s === track.end_s ? clock(track.start_s) : `${clock(track.start_s)} to ${clock(track.end_s)}`}`)),
      timeline(track, end, threshold, player, seek));
  });
  return make("section", {}, make("h3", {}, "People, and their P(fake) over time"), make("div", { class: "people" }, ...rows),
    make("div", { class: "axis" }, make("span", {}, "0 s"), make("span", {}, clock(end))));
}

function timeline(track, end, threshold, player, seek) {
  const x = (s) => 500 * s / end;
  const y = (p) => 60 - 56 * p;
  const now = make("line", { class: "now", y1: 0, y2: 64, x1: -9, x2: -9, "vector-effect": "non-scaling-stroke" });
  if (player) player.addEventListener("timeupdate", () => { now.setAttribute("x1", x(player.currentTime)); now.setAttribute("x2", x(player.currentTime)); });
  const marks = track.windows.map((window) => {
    const width = Math.max(x(window.end_s - window.start_s), 5);
    return make("rect", { class: `mark ${verdictOf(window.prob, threshold)}`, x: Math.min(x(window.start_s), 500 - width), y: y(window.prob) - 2.5, width, height: 5, rx: 2 },
      make("title", {}, `${clock(window.start_s)}: ${prob(window.prob)}`));
  });
  const chart = make("svg", { class: `timeline${player ? " seek" : ""}`, viewBox: "0 0 500 64", preserveAspectRatio: "none", role: "img", "aria-label": `P(fake) of person ${track.track + 1} over time` },
    make("rect", { class: "rail", x: 0, y: 0, width: 500, height: 64, rx: 4, opacity: 0.45 }),
    ...(track.spans ?? []).map(([start, stop]) => make("rect", { class: "rail", x: x(start), y: 0, width: Math.max(x(stop - start), 2), height: 64 })),
    make("line", { class: "cut", x1: 0, x2: 500, y1: y(threshold), y2: y(threshold), "vector-effect": "non-scaling-stroke" }), ...marks, now);
  chart.addEventListener("click", (event) => { const box = chart.getBoundingClientRect(); seek((event.clientX - box.left) / box.width * end); });
  return chart;
}

function telling(video, seek) {
  if (!video.faces.length) return null;
  const side = (name, title) => {
    const figures = video.faces.filter((face) => face.side === name).map((face) => make("figure", {},
      make("img", { src: video.files[face.file], alt: `face at ${clock(face.time_s)}`, loading: "lazy", onclick: () => seek(face.time_s) }),
      face.heat ? make("img", { src: video.files[face.heat], alt: "its heat map", loading: "lazy" }) : null,
      make("figcaption", {}, make("span", { class: verdictOf(face.prob, video.threshold) }, prob(face.prob)), ` at ${clock(face.time_s)}`)));
    return make("section", {}, make("h3", {}, title), make("div", { class: "faces" }, ...figures));
  };
  return make("div", { class: "sides" }, side("suspicious", "Most suspicious faces"), side("innocent", "Least suspicious faces"));
}

function links(files) {
  const known = { "report.html": "Full report", "annotated.mp4": "Annotated video", "annotated.jpg": "Annotated picture", "prediction.json": "JSON" };
  return make("div", { class: "links" }, ...Object.entries(known).filter(([file]) => files[file])
    .map(([file, text]) => make("a", { href: files[file], target: "_blank", rel: "noopener" }, text)));
}

// ---- the page

pick.addEventListener("change", () => { take([...pick.files]); pick.value = ""; });
let inside = 0;
addEventListener("dragenter", (event) => { event.preventDefault(); inside += 1; drop.classList.add("over"); });
addEventListener("dragleave", () => { inside -= 1; if (inside <= 0) drop.classList.remove("over"); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => { event.preventDefault(); inside = 0; drop.classList.remove("over"); take([...event.dataTransfer.files]); });
for (const id of JSON.parse(sessionStorage.getItem(KEPT) ?? "[]")) new Card("…").follow(id);
