"""What a run did, as one HTML file: `run_files` reads its folder, `sections` write, `charts` draw, `page` frames."""
