"""For each exercise two planted wrong answers, and what its check must say of them.

Name -> ((wrong answer, pattern of the message), ...).
"""

from wrong_answers import first_half, second_half

WRONG = first_half.WRONG | second_half.WRONG
