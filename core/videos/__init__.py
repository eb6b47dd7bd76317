"""Videos by ffmpeg: what a file holds, its frames out of a pipe, and frames into a file with its sound."""
