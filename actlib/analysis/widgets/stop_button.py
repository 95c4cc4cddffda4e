"""A button that reaches the kernel while a cell runs.

Widgets' clicks do not: JupyterLab sends them to a subshell of the kernel, but ipykernel (7.4) hands each on to the
shell that opened the widget, which is the one that the cell keeps busy. An interrupt gets through. So the button does
what JupyterLab's ■ does, through the server's own address for it; who runs the cell decides what an interrupt means.
"""

from pathlib import Path

import anywidget
import traitlets

_ESM = """
function render({ model, el }) {
  const button = document.createElement("button"), said = document.createElement("span");
  button.className = "jupyter-widgets jupyter-button widget-button mod-warning actlib-stop";
  button.style.width = "auto";
  button.textContent = "stop after this epoch";
  said.className = "actlib-stop-said";
  said.style.marginLeft = "8px";
  el.append(button, said);
  const follow = () => {
    button.disabled = model.get("state") !== "running";
    said.textContent = model.get("said");
  };
  model.on("change:state change:said", follow);
  follow();
  button.addEventListener("click", async () => {
    button.disabled = true;
    said.textContent = "asks the kernel …";
    const page = JSON.parse(document.getElementById("jupyter-config-data")?.textContent || "{}");
    const headers = {}, cookie = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
    if (cookie) headers["X-XSRFToken"] = decodeURIComponent(cookie[1]);
    if (page.token) headers["Authorization"] = `token ${page.token}`;
    const address = `${page.baseUrl || "/"}api/kernels/${model.get("kernel")}/interrupt`;
    const answer = await fetch(address, { method: "POST", headers, credentials: "same-origin" }).catch(() => ({}));
    if (!answer.ok) {
      said.textContent = model.get("otherwise");
      button.disabled = false;
    }
  });
}
export default { render };
"""


class StopButton(anywidget.AnyWidget):
    """`state` is "running" while a click is welcome; `said` stands beside the button, and `otherwise` where the server
    does not take the interrupt (a kernel of VS Code, say)."""

    _esm = _ESM
    kernel = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode("idle").tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)
    otherwise = traitlets.Unicode().tag(sync=True)


def kernel_id() -> str:
    """The server's name for this kernel, which its connection file tells; empty outside of one."""
    try:
        from ipykernel.connect import get_connection_file

        return Path(get_connection_file()).stem.removeprefix("kernel-")
    except RuntimeError:
        return ""
