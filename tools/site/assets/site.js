// Blocks that scroll can be reached by the keyboard, copy buttons are told apart, a picture leads to itself in full size.
document$.subscribe(() => {
  document.querySelectorAll("pre > code").forEach((code) => code.setAttribute("tabindex", "0"))
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => table.setAttribute("tabindex", "0"))
  document.querySelectorAll(".md-code__nav").forEach((nav, number) => nav.setAttribute("aria-label", `Code ${number + 1}`))
  document.querySelectorAll(".md-content article img").forEach((image) => {
    const link = Object.assign(document.createElement("a"), { href: image.src })
    image.replaceWith(link)
    link.append(image)
  })
})
