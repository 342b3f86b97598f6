const live = document.querySelector(".live");
const shown = {{ version | tojson }};
const place = sessionStorage.getItem("place");
if (place) scrollTo(0, Number(place));
for (const item of document.querySelectorAll("details")) {
  const key = "open " + item.querySelector("summary").textContent;
  if (sessionStorage.getItem(key)) item.open = true;
  item.addEventListener("toggle", () => sessionStorage.setItem(key, item.open ? "yes" : ""));
}
async function follow() {
  try {
    const answer = await (await fetch("version")).text();
    if (answer !== shown) {
      sessionStorage.setItem("place", scrollY);
      location.reload();
      return;
    }
    live.textContent = "Live: this page follows the run.";
  } catch (error) {
    live.textContent = "The server has gone: this is what the run was when it went.";
  }
  setTimeout(follow, 3000);
}
setTimeout(follow, 3000);
