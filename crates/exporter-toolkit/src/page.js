(function () {
  "use strict";
  var form = document.querySelector(".find"), head = document.querySelectorAll(".sortable th");
  // The page renews itself: what was typed and sorted comes back. Storage may be forbidden.
  function keep(name, value) {
    try {
      var key = location.pathname + " " + name;
      if (value === undefined) return sessionStorage.getItem(key) || "";
      sessionStorage.setItem(key, value);
    } catch (error) { return ""; }
  }
  var list = document.querySelector(".all");
  if (list) {
    if (keep("open")) list.open = keep("open") === "yes";
    list.addEventListener("toggle", function () { keep("open", list.open ? "yes" : "no"); });
  }
  if (form) {
    var box = form.querySelector("input"), told = form.querySelector("span");
    var items = Array.prototype.slice.call(document.querySelectorAll("[data-find]"));
    var find = function () {
      var words = box.value.toLowerCase().split(/\s+/), shown = 0;
      items.forEach(function (item) {
        var text = item.textContent.toLowerCase();
        item.hidden = !words.every(function (word) { return text.indexOf(word) >= 0; });
        if (!item.hidden) shown += 1;
      });
      told.textContent = box.value.trim() ? shown + " of " + items.length : "";
      if (list && box.value.trim()) list.open = true;
      keep("find", box.value);
    };
    form.hidden = false;
    box.value = keep("find");
    box.addEventListener("input", find);
    find();
  }
  function sort(th, down) {
    var body = th.closest("table").tBodies[0], at = th.cellIndex;
    var value = function (row) {
      var cell = row.cells[at], text = cell.getAttribute("data-v") || cell.textContent.trim();
      return text !== "" && !isNaN(text) ? Number(text) : text.toLowerCase();
    };
    var rows = Array.prototype.map.call(body.rows, function (row, nth) { return [value(row), nth, row]; });
    rows.sort(function (a, b) {
      var less = typeof a[0] === typeof b[0] ? (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) : typeof a[0] === "number" ? 1 : -1;
      return (down ? -less : less) || a[1] - b[1];
    });
    rows.forEach(function (row) { body.appendChild(row[2]); });
    head.forEach(function (other) { other.removeAttribute("aria-sort"); });
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
    keep("sort", at + (down ? "-" : "+"));
  }
  head.forEach(function (th) {
    var turn = function () { sort(th, th.getAttribute("aria-sort") !== "descending"); };
    th.tabIndex = 0;
    th.addEventListener("click", turn);
    th.addEventListener("keydown", function (event) { if (event.key === "Enter") turn(); });
  });
  var sorted = /^(\d+)([+-])$/.exec(keep("sort"));
  if (sorted && head[sorted[1]]) sort(head[sorted[1]], sorted[2] === "-");
})();
