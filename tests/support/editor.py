"""What browser tests do with the graph editor."""

# Both in the page: Playwright would turn undefined into null.
LOAD = "([graph, name]) => app.loadGraphData(JSON.parse(graph), true, true, name)"
TO_PROMPT = "async () => JSON.stringify((await app.graphToPrompt()).output)"
# How it ended, and all that the node of this class showed as its text meanwhile.
RUN = """async type => {
    const ended = new Promise(done => {
        for (const end of ["execution_success", "execution_error", "execution_interrupted"])
            app.api.addEventListener(end, event => done([end, event.detail.exception_message]), {once: true})
    })
    const shown = new Set()
    const look = () => app.graph.nodes.find(node => node.type === type)?.widgets?.forEach(widget => {
        if (widget.name === "$$node-text-preview") shown.add(widget.value)
        if (widget.name === "persona_notice") shown.add(widget.element.textContent)
    })
    const timer = setInterval(look, 20)
    await app.queuePrompt(0, 1)
    const refused = Object.keys(app.lastNodeErrors ?? {}).length
    // An error of the run may be among them already.
    const after = new Promise(done => setTimeout(() => done(["refused", JSON.stringify(app.lastNodeErrors)]), 2000))
    const [status, error] = await (refused ? Promise.race([ended, after]) : ended)
    look()
    clearInterval(timer)
    return {status, error, shown: [...shown]}
}"""
