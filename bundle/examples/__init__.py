"""Images to try the bundle on: an analytic thorax `phantom`, and open CTs, which `samples` downloads."""
