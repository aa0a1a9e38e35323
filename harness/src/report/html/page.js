// Sorts the tables and reads the timeline out; the page says all it has to say
// without it.
"use strict";
(() => {
  const key = (row, nth) => {
    const cell = row.cells[nth];
    return cell.dataset.sort ?? cell.textContent.trim();
  };
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, nth) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows].sort((a, b) => compare(key(a, nth), key(b, nth)));
        body.append(...(up ? rows : rows.reverse()));
      });
    });
  }

  const result = JSON.parse(document.getElementById("result").textContent);
  const lanes = document.querySelector(".lanes");
  const { step_ns: step, populations } = result.timeline;
  const readout = document.createElement("p");
  readout.className = "readout";
  readout.textContent = "Point at the run to read it.";
  lanes.after(readout);
  const ms = (ns) => (ns == null ? "–" : `${(ns / 1e6).toPrecision(3)} ms`);
  const read = (event) => {
    const drawn = event.target.closest(".drawn");
    if (!drawn) return;
    const box = drawn.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const at = Math.min(Math.max(share, 0), 1) * result.duration_ns;
    const nth = Math.floor(at / step);
    const said = populations.map((one) => {
      const per = (counts) => Math.round(((counts[nth] ?? 0) * 1e9) / step);
      const harmed = one.harmed[nth] ? `, ${one.harmed[nth]} harmed` : "";
      return `${one.name}: ${per(one.ok)}/s${harmed}, p50 ${ms(one.p50_ns[nth])}, p99 ${ms(one.p99_ns[nth])}, max ${ms(one.max_ns[nth])}`;
    });
    readout.textContent = `+${(at / 1e9).toFixed(2)} s — ${said.join(" · ")}`;
  };
  lanes.addEventListener("pointermove", read);
  lanes.addEventListener("pointerdown", read);
})();
