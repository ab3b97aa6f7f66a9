"""Letters that nobody sees, or that let a line read otherwise than it is."""

TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
INVISIBLE = "\u00ad\u034f\u200b\u2028\u2029\u2060\ufeff"  # joiners are left: languages and emoji need them
