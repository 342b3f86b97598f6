"""What a run did, as one HTML file: `run_files` reads its folder, `sections` say it, `charts` draw, `page` frames."""
