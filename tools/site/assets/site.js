// Blocks that scroll can be reached by the keyboard, and copy buttons are told apart.
document$.subscribe(() => {
  document.querySelectorAll("pre > code").forEach((code) => code.setAttribute("tabindex", "0"))
  document.querySelectorAll(".md-code__nav").forEach((nav, number) => nav.setAttribute("aria-label", `Code ${number + 1}`))
})
