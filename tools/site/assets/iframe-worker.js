// A browser starts no worker for a page that is opened as a file: its script runs in a hidden frame instead.
// The offline plugin would fetch another such file from the network, were there none of this name.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(address) {
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      this.inside = this.frame.contentWindow
      this.inside.postMessage = (data) => later((copy) => this.onmessage?.(copy), data)
      this.ready = new Promise((resolve, reject) => {
        const script = this.frame.contentDocument.createElement("script")
        Object.assign(script, { src: new URL(address, location), onload: resolve, onerror: reject })
        this.frame.contentDocument.body.append(script)
      })
      this.ready.catch((error) => this.onerror?.(error))
    }

    postMessage(data) {
      later((copy) => this.ready.then(() => this.inside.onmessage(copy), () => {}), data)
    }

    terminate() {
      this.frame.remove()
    }
  }

  // As between threads: the receiver gets a copy, and not before the sender has done its work.
  function later(receive, message) {
    const data = structuredClone(message)
    setTimeout(() => receive({ data }))
  }
}
