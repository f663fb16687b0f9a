"""The report: one offline HTML file built from stored runs, and the charts in it."""
