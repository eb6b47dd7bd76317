"use strict";
// A comparison of pictures: without this script they stand side by side, with it one divider moves over two of them.
for (const box of document.querySelectorAll(".compare")) {
  const pictures = [...box.querySelectorAll(".stack figure")];
  const right = pictures[pictures.length - 1];
  const left = pictures.slice(0, -1);
  const range = box.querySelector("input[type=range]");
  const choices = [...box.querySelectorAll("input[type=radio]")];
  const divider = box.querySelector(".divider");
  const show = () => {
    const chosen = Math.max(0, choices.findIndex((choice) => choice.checked));
    left.forEach((picture, index) => { picture.hidden = index !== chosen; });
    left[chosen].style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
    divider.style.left = `${range.value}%`;
    range.setAttribute("aria-valuetext", `${range.value} % ${left[chosen].dataset.name}, the rest ${right.dataset.name}`);
  };
  box.classList.add("live");
  box.querySelector(".controls").hidden = false;
  range.addEventListener("input", show);
  choices.forEach((choice) => choice.addEventListener("change", show));
  show();
}
