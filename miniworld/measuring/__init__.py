"""Who is in a picture, and what it shows.

crops, instruments  three small networks: where heads are, who they are, what is to be seen
subjects            somebody with their one photo, and other drawings of them
asking              prompts, and what their pictures must show
scoring             likeness, obedience and leaks of pictures
"""
