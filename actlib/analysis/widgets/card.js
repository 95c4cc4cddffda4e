// A video that plays by itself, without its sound, and what is said of it.
function render({ model, el }) {
  const video = Object.assign(document.createElement("video"), { muted: true, loop: true, autoplay: true, controls: true });
  const said = document.createElement("div");
  function draw() {
    URL.revokeObjectURL(video.src);
    const mp4 = model.get("mp4");
    video.hidden = !mp4?.byteLength;
    if (video.hidden) video.removeAttribute("src");
    else video.src = URL.createObjectURL(new Blob([mp4], { type: "video/mp4" }));
  }
  const say = () => { said.innerHTML = model.get("said"); };
  el.classList.add("actlib-card");
  el.append(video, said);
  model.on("change:mp4", draw);
  model.on("change:said", say);
  draw();
  say();
  return () => URL.revokeObjectURL(video.src);
}
export default { render };
