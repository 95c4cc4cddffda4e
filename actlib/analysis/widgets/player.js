// A video, boxes over it, and beside it a timeline of its frames: a row a clip, a tick a frame, a line that plays along.

function element(kind, name, parent) {
  const made = document.createElement(kind);
  made.className = name;
  parent.append(made);
  return made;
}

function render({ model, el }) {
  const player = element("div", "actlib-player", el);
  const left = element("div", "actlib-player-left", player);
  const frame = element("div", "actlib-player-frame", left);
  const video = element("video", "actlib-player-video", frame);
  const boxes = element("div", "actlib-player-boxes", frame);
  const below = element("div", "actlib-player-below", left);
  const button = element("button", "actlib-player-play", below);
  const speed = element("select", "actlib-player-speed", below);
  const told = element("span", "actlib-player-told", below);
  const right = element("div", "actlib-player-right", player);
  const timeline = element("div", "actlib-player-timeline", right);
  Object.assign(video, { loop: true, muted: true, playsInline: true });
  for (const times of [1, 0.5, 0.25, 0.1]) element("option", "", speed).textContent = `${times} ×`;
  let address = null;

  const count = () => Math.max(1, model.get("num_frames"));
  const current = () => {
    const share = video.duration ? video.currentTime / video.duration : 0;
    return Math.min(count() - 1, Math.floor(share * count() + 1e-6));
  };

  function follow() {
    const number = current();
    for (const line of timeline.querySelectorAll(".actlib-player-now")) {
      line.style.left = `${(100 * (number + 0.5)) / count()}%`;
    }
    const shown = model.get("video").byteLength ? `frame ${model.get("first") + number} · ` : "";
    told.textContent = shown + model.get("made");
    button.textContent = video.paused ? "▶ play" : "⏸ pause";
    if (!video.paused) requestAnimationFrame(follow);
  }

  function toggle() {
    if (!video.paused) video.pause();
    else video.play().catch(() => {}); // another video came before it began
  }

  function seek(event) {
    const track = event.currentTarget.getBoundingClientRect();
    const share = Math.min(0.999, Math.max(0, (event.clientX - track.left) / track.width));
    if (video.duration) video.currentTime = ((Math.floor(share * count()) + 0.5) / count()) * video.duration;
  }

  function load() {
    if (address) URL.revokeObjectURL(address);
    address = null;
    const data = model.get("video");
    for (const each of [frame, button, speed]) each.style.display = data.byteLength ? "" : "none";
    video.removeAttribute("src");
    if (data.byteLength) {
      address = URL.createObjectURL(new Blob([data], { type: "video/mp4" }));
      video.src = address;
    }
    video.load();
    video.playbackRate = parseFloat(speed.value);
    follow();
  }

  function drawBoxes() {
    boxes.replaceChildren();
    for (const box of model.get("boxes")) {
      const made = element("div", "actlib-player-box", boxes);
      for (const side of ["top", "left", "width", "height"]) made.style[side] = `${100 * box[side]}%`;
      made.style.borderColor = box.color;
      made.title = box.name;
    }
  }

  function drawRows() {
    timeline.replaceChildren();
    for (const row of model.get("rows")) {
      const line = element("div", "actlib-player-row", timeline);
      element("span", "actlib-player-name", line).textContent = row.name;
      const track = element("div", "actlib-player-track", line);
      track.addEventListener("click", seek);
      const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      drawing.setAttribute("viewBox", `0 0 ${count()} 1`);
      drawing.setAttribute("preserveAspectRatio", "none");
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", row.frames.map((each) => `M${each - model.get("first") + 0.5} 0V1`).join(""));
      path.setAttribute("vector-effect", "non-scaling-stroke");
      path.style.stroke = row.color;
      drawing.append(path);
      track.append(drawing);
      element("div", "actlib-player-now", track);
      if (row.text) element("span", "actlib-player-score", line).textContent = row.text;
    }
    const line = element("div", "actlib-player-row", timeline);
    element("span", "actlib-player-name", line).textContent = "frame";
    const axis = element("div", "actlib-player-axis", line);
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      element("span", "", axis).textContent = model.get("first") + Math.round(share * (count() - 1));
    }
    if (model.get("rows").some((row) => row.text)) element("span", "actlib-player-score", line);
    follow();
  }

  video.addEventListener("click", toggle);
  button.addEventListener("click", toggle);
  speed.addEventListener("change", () => (video.playbackRate = parseFloat(speed.value)));
  video.addEventListener("play", follow);
  video.addEventListener("pause", follow);
  video.addEventListener("seeked", follow);
  video.addEventListener("timeupdate", follow);
  model.on("change:video", load);
  model.on("change:made", follow);
  model.on("change:boxes", drawBoxes);
  model.on("change:rows change:num_frames change:first", drawRows);
  load();
  drawBoxes();
  drawRows();
  return () => address && URL.revokeObjectURL(address);
}

export default { render };
