// HTML of which the parts with a data-key tell the kernel when they are clicked.
function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "actlib-clicks";
  const draw = () => { box.innerHTML = model.get("html"); };
  box.onclick = (event) => {
    const key = event.target.closest("[data-key]")?.dataset.key;
    if (key !== undefined) model.send({ key, more: event.ctrlKey || event.metaKey || event.shiftKey });
  };
  model.on("change:html", draw);
  draw();
  el.append(box);
}
export default { render };
