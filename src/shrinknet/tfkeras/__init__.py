"""What runs in a process of its own, with Keras 2 (tf_keras) and tensorflow-model-optimization, which needs it.

Importing tensorflow-model-optimization turns Keras 2 on for the whole process: nothing in here is ever imported by the
rest of shrinknet. `python -m shrinknet.tfkeras JOB` does the job that the folder JOB describes.
"""
