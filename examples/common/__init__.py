"""What the studies of the papers share: data, a grid of fits that resumes, marks of doubt, pages and figures."""
