// Blocks that scroll can be reached by the keyboard, copy buttons are told apart, a picture leads to itself in full size.
document$.subscribe(() => {
  document.querySelectorAll("pre > code").forEach((code) => code.setAttribute("tabindex", "0"))
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => table.setAttribute("tabindex", "0"))
  document.querySelectorAll(".md-code__nav").forEach((nav, number) => nav.setAttribute("aria-label", `Code ${number + 1}`))
  document.querySelectorAll("code").forEach(keepFlagsWhole)
  document.querySelectorAll(".md-content article img").forEach((image) => {
    const link = Object.assign(document.createElement("a"), { href: image.src })
    image.replaceWith(link)
    link.append(image)
  })
})

// A browser breaks a line behind the hyphen of -accum_iter.
function keepFlagsWhole(code) {
  const texts = document.createTreeWalker(code, NodeFilter.SHOW_TEXT), found = []
  while (texts.nextNode()) if (/(^|\s)--?\w/.test(texts.currentNode.data)) found.push(texts.currentNode)
  if (code.closest(".highlight:not(.language-bash, .language-console)")) return
  for (const text of found) {
    const parts = text.data.split(/((?<=^|\s)--?\w[\w-]*)/)
    text.replaceWith(...parts.map((part, number) => number % 2 ? flag(part) : part))
  }
}

function flag(text) {
  return Object.assign(document.createElement("span"), { className: "flag", textContent: text })
}
